/* Arithmetic in float32 on the compiler's own vectors, for AVX-512, AVX2, NEON, or any others.
 *
 * Every output of a product is one sum over the inputs in their order, whatever the shape of the group that computes it, and
 * sums over a row are added in an order that does not depend on LANES: so a row has the same bits in a batch of any size.
 */
#ifndef FLOATS_H
#define FLOATS_H

#include "matrix.h"

/* MOST: rows of a group, whose sums for WIDE panels share the registers with weights and inputs. */
#if defined __AVX512F__
enum { LANES = 16, MOST = 8, WIDE = 2 };
#define SPREAD(x) {x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}
#elif defined __AVX__
enum { LANES = 8, MOST = 6, WIDE = 1 };
#define SPREAD(x) {x, x, x, x, x, x, x, x}
#else
enum { LANES = 4, MOST = 5, WIDE = 1 };
#define SPREAD(x) {x, x, x, x}
#endif

enum { PANEL = 16, TOGETHER = 1, VECS = PANEL / LANES, ALONE = 8 / VECS, FEW = 3, FEW_WIDE = ALONE / 2 };

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t bits __attribute__((vector_size(4 * LANES)));
typedef float part; /* the numbers that a product reads, and those that are kept for the derivative */

/* No registers to request from the operating system. */
INLINE int granted(void) { return 1; }
INLINE void begin(void) {}
INLINE void end(void) {}

INLINE vec splat(float x) { return (vec)SPREAD(x); }
INLINE vec load(const float *from) {
    vec x;
    memcpy(&x, from, sizeof x);
    return x;
}
INLINE void store(float *to, vec x) { memcpy(to, &x, sizeof x); }
INLINE vec load_part(const part *from) { return load(from); }
/* Store the number at `at` of a product's left operand. */
INLINE void put(part *hi, part *lo, int64_t at, vec x, int terms) {
    (void)lo, (void)terms;
    store(hi + at, x);
}

INLINE vec where(bits condition, vec yes, vec no) { return (vec)((condition & (bits)yes) | (~condition & (bits)no)); }

/* e^x: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2]. A comparison with NaN is false, so that NaN propagates. */
INLINE vec exponential(vec x) {
    static const float taylor[] = {1.f / 120, 1.f / 24, 1.f / 6, 1.f / 2, 1, 1};
    const vec low = splat(-87), high = splat(88), whole = splat(12582912); /* adding 1.5 * 2^23 rounds to a whole number */
    x = where(x < low, low, x);
    x = where(x > high, high, x);
    const vec sum = x * splat(1.44269504f) + whole, n = sum - whole;
    const vec r = x - n * splat(0.693145752f) - n * splat(1.42860677e-6f);
    vec p = splat(1.f / 720);
    for (int i = 0; i < 6; i++) p = p * r + splat(taylor[i]);
    return p * (vec)(((bits)sum - (bits)whole + 127) << 23);
}

/* Slopes of a relu take a bit per unit: those of 32 vectors share a vector of words. */
INLINE int64_t slope_bytes(int64_t width, int silu) {
    return 4 * (silu ? width : (width + 32 * LANES - 1) / (32 * LANES) * LANES);
}
INLINE char *words_of(const char *slopes, int64_t i) { return (char *)slopes + i / (32 * LANES) * (4 * LANES); }

/* The activation; its slopes are stored if a destination is given. */
INLINE vec activate(vec x, int silu, char *slopes, int64_t i) {
    const vec one = splat(1);
    if (!silu) {
        const bits off = x <= splat(0); /* a NaN is let through */
        if (slopes) {
            const int at = i / LANES % 32;
            bits words = {0};
            if (at) memcpy(&words, words_of(slopes, i), sizeof words);
            words |= ~off & (int32_t)(1u << at);
            memcpy(words_of(slopes, i), &words, sizeof words);
        }
        return (vec)((bits)x & ~off);
    }
    const vec gate = one / (one + exponential(-x)), y = x * gate;
    if (slopes) store((float *)slopes + i, y * (one - gate) + gate);
    return y;
}

INLINE vec times_slope(vec g, int silu, const char *slopes, int64_t i) {
    if (silu) return g * load((const float *)slopes + i);
    bits words;
    memcpy(&words, words_of(slopes, i), sizeof words);
    return (vec)((bits)g & (words << (int32_t)(31 - i / LANES % 32)) >> 31);
}

/* sum_i x_i y_i, or sum_i x_i without y: as 64 sums, which are then added by halves. */
INLINE float dot(const vec *x, const vec *y, int64_t width) {
    enum { MANY = 64 / LANES };
    vec s[MANY];
    float each[LANES];
    for (int i = 0; i < MANY; i++) s[i] = splat(0);
    UNROLL for (int64_t i = 0; i < width / LANES; i++) s[i % MANY] += y ? x[i] * y[i] : x[i];
    for (int half = MANY / 2; half; half /= 2)
        for (int i = 0; i < half; i++) s[i] += s[i + half];
    store(each, s[0]);
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) each[i] += each[i + half];
    return each[0];
}

/* The sums of `rows` rows for `panels` panels of outputs. */
INLINE void sums(const float *x, const float *weights, const Matrix *m, float *out, const int rows, const int panels) {
    const int64_t beside = m->inputs * PANEL;
    const int vecs = panels * VECS;
    vec sum[MOST][ALONE * VECS], weight[ALONE * VECS];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vecs; v++) sum[r][v] = splat(0);
    for (int64_t k = 0; k < m->used; k++, weights += PANEL) {
        UNROLL for (int p = 0; p < panels; p++)
            UNROLL for (int v = 0; v < VECS; v++) weight[p * VECS + v] = load(weights + p * beside + v * LANES);
        UNROLL for (int r = 0; r < rows; r++) {
            const vec each = splat(x[r * m->inputs + k]);
            UNROLL for (int v = 0; v < vecs; v++) sum[r][v] += each * weight[v];
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vecs; v++) store(out + r * m->outputs + v * LANES, sum[r][v]);
}

typedef void Sums(const float *x, const float *weights, const Matrix *m, float *out);

/* The sums of a number of rows for one panel, and for several at once. Functions of their own, or clang merges their loops. */
#define GROUP(rows, panels) \
    static __attribute__((noinline)) void one_##rows(const float *x, const float *weights, const Matrix *m, float *out) { \
        sums(x, weights, m, out, rows, 1); \
    } \
    static __attribute__((noinline)) void wide_##rows(const float *x, const float *weights, const Matrix *m, float *out) { \
        sums(x, weights, m, out, rows, panels); \
    }
GROUP(1, ALONE)
GROUP(2, FEW_WIDE)
GROUP(3, FEW_WIDE)
GROUP(4, WIDE)
GROUP(5, WIDE)
#define FIVE(name) 0, name##_1, name##_2, name##_3, name##_4, name##_5
#if defined __AVX512F__
GROUP(6, WIDE)
GROUP(7, WIDE)
GROUP(8, WIDE)
#define ALL(name) {FIVE(name), name##_6, name##_7, name##_8}
#elif defined __AVX__
GROUP(6, WIDE)
#define ALL(name) {FIVE(name), name##_6}
#else
#define ALL(name) {FIVE(name)}
#endif
static Sums *const SUMS[2][MOST + 1] = {ALL(one), ALL(wide)};

/* out [count, outputs] = left [count, inputs] @ m. The weights of a few panels stay in the first-level cache while all rows are
 * multiplied with them, in groups of nearly equal size. Few rows take more panels at once, to hide the latency of additions. */
static __attribute__((noinline)) void product(const part *left, const part *unused, int64_t count, const Matrix *m, int terms,
                                              float *out) {
    (void)unused, (void)terms;
    const int64_t groups = (count + MOST - 1) / MOST, panels = m->outputs / PANEL;
    int64_t wide = count > FEW ? WIDE : count > 1 ? FEW_WIDE : ALONE;
    for (int64_t panel = 0; panel < panels; panel += wide) {
        if (panels - panel < wide) wide = 1;
        const float *weights = m->full + panel * m->inputs * PANEL;
        for (int64_t group = 0, first = 0; group < groups; group++) {
            const int64_t rows = (count - first + groups - group - 1) / (groups - group);
            SUMS[wide > 1][rows](left + first * m->inputs, weights, m, out + first * m->outputs + panel * PANEL);
            first += rows;
        }
    }
}

#endif
