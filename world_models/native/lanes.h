/* Products on AVX-512 lanes: float32 for 3 terms, else one pass of bfloat16 pairs. */
#ifndef LANES_H
#define LANES_H

#include "vectors.h"

enum { TOGETHER = 4, MOST = 8 }; /* rows whose sums are in registers, for 32 outputs each: with few rows, and otherwise */

/* No registers to request from the operating system. */
INLINE int granted(void) { return 1; }
INLINE void begin(void) {}
INLINE void end(void) {}

#define SUMS() \
    __m512 left[MOST], right[MOST]; \
    for (int r = 0; r < rows; r++) left[r] = right[r] = _mm512_setzero_ps()
#define STORE_SUMS() \
    for (int r = 0; r < rows; r++) { \
        _mm512_storeu_ps(out + r * m->outputs, left[r]); \
        _mm512_storeu_ps(out + r * m->outputs + LANES, right[r]); \
    }
/* All rows, in groups that fit the registers, for 32 outputs at a time. */
#define BY_ROWS(sums, x, weights) \
    for (int64_t panel = 0; panel < m->outputs / 32; panel++) \
        for (int64_t first = 0; first < count; first += MOST) { \
            const int64_t from = panel * m->inputs * 32, to = first * m->outputs + 32 * panel; \
            if (count - first > TOGETHER) sums((x) + first * m->inputs, (weights) + from, m, out + to, MOST); \
            else sums((x) + first * m->inputs, (weights) + from, m, out + to, TOGETHER); \
        }

INLINE void sums_float(const float *x, const float *weights, const Matrix *m, float *out, const int rows) {
    SUMS();
    for (int64_t k = 0; k < m->inputs; k++, weights += 32) {
        const __m512 a = _mm512_loadu_ps(weights), b = _mm512_loadu_ps(weights + LANES);
        UNROLL for (int r = 0; r < rows; r++) {
            const __m512 each = _mm512_set1_ps(x[r * m->inputs + k]);
            left[r] = _mm512_fmadd_ps(each, a, left[r]);
            right[r] = _mm512_fmadd_ps(each, b, right[r]);
        }
    }
    STORE_SUMS();
}

static __attribute__((noinline)) void product_float(const float *x, int64_t count, const Matrix *m, float *out) {
    BY_ROWS(sums_float, x, m->full);
}

INLINE __m512bh pairs(const bf16 *from) { return (__m512bh)_mm512_loadu_si512(from); }

/* Two neighbouring numbers of a row, as one 32-bit number in all lanes. */
INLINE __m512bh both(const bf16 *from) {
    int32_t x;
    memcpy(&x, from, 4);
    return (__m512bh)_mm512_set1_epi32(x);
}

INLINE void sums_pairs(const bf16 *x, const bf16 *weights, const Matrix *m, float *out, const int rows) {
    const bf16 *beside = weights + m->inputs * LANES;
    SUMS();
    for (int64_t k = 0; k < m->inputs; k += 2, weights += 32, beside += 32) {
        const __m512bh a = pairs(weights), b = pairs(beside);
        UNROLL for (int r = 0; r < rows; r++) {
            const __m512bh each = both(x + r * m->inputs + k);
            left[r] = _mm512_dpbf16_ps(left[r], each, a);
            right[r] = _mm512_dpbf16_ps(right[r], each, b);
        }
    }
    STORE_SUMS();
}

static __attribute__((noinline)) void product_pairs(const bf16 *x, int64_t count, const Matrix *m, float *out) {
    BY_ROWS(sums_pairs, x, m->hi);
}

/* out [count, outputs] = left [count, inputs] @ m. For 3 terms the left operand is float32, stored in the memory of both parts. */
INLINE void product(const bf16 *left_hi, const bf16 *left_lo, int64_t count, const Matrix *m, int terms, float *out) {
    (void)left_lo;
    if (terms == 3) product_float((const float *)left_hi, count, m, out);
    else product_pairs(left_hi, count, m, out);
}

/* Store the number at `at` of a product's left operand. */
INLINE void put(bf16 *hi, bf16 *lo, int64_t at, __m512 x, int terms) {
    (void)lo;
    if (terms == 3) _mm512_storeu_ps((float *)hi + at, x);
    else store_part(hi + at, rounded(x));
}

#endif
