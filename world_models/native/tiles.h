/* Products on AMX tiles, bfloat16 pairs, fixed point, activations: what the kernels are made of. */
#ifndef TILES_H
#define TILES_H

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

enum { ROWS = 32, TILE = 512, LANES = 16 };
typedef uint16_t bf16;

/* A matrix [inputs, outputs] as high and low parts, cut into tiles of 16 pairs of inputs x 16 outputs, inputs innermost.
 * Both sizes are padded with zeros to multiples of 32. */
typedef struct {
    const bf16 *hi, *lo;
    int64_t inputs, outputs;
} Matrix;

static const struct {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} TILES __attribute__((aligned(64))) = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

/* Asks the kernel for the tile registers; 0 when it has none to give. */
static int tiles_granted(void) { return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0; }

/* The compiler does not see what tile instructions read and write. */
#define FENCE() __asm__ volatile("" ::: "memory")

#define LOAD_ROWS(from) \
    _tile_loadd(4, (from) + 32 * k, stride); \
    _tile_loadd(5, (from) + 32 * k + 16 * m->inputs, stride)
/* Weights stream by from the second cache: the hint keeps them from driving the rows out of the first. */
#define LOAD_WEIGHTS(from) \
    _tile_stream_loadd(6, (from), 64); \
    _tile_stream_loadd(7, (from) + TILE * steps, 64)
#define MULTIPLY() \
    _tile_dpbf16ps(0, 4, 6); \
    _tile_dpbf16ps(1, 4, 7); \
    _tile_dpbf16ps(2, 5, 6); \
    _tile_dpbf16ps(3, 5, 7)

/* out [ROWS, outputs] = left [ROWS, inputs] @ m; two tiles of rows by two of outputs at a time. */
static __attribute__((noinline)) void product(const bf16 *left_hi, const bf16 *left_lo, const Matrix *m, int terms,
                                              float *out) {
    const int64_t steps = m->inputs / 32, stride = 2 * m->inputs, row = 4 * m->outputs;
    FENCE();
    for (int64_t pair = 0; pair < m->outputs / 32; pair++) {
        const bf16 *hi = m->hi + pair * 2 * steps * TILE, *lo = m->lo + pair * 2 * steps * TILE;
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int64_t k = 0; k < steps; k++, hi += TILE, lo += TILE) {
            LOAD_ROWS(left_hi);
            if (terms == 3) {
                LOAD_WEIGHTS(lo);
                MULTIPLY();
            }
            LOAD_WEIGHTS(hi);
            MULTIPLY();
            if (terms == 3) {
                LOAD_ROWS(left_lo);
                MULTIPLY();
            }
        }
        float *above = out + 32 * pair, *below = above + 16 * m->outputs;
        _tile_stored(0, above, row);
        _tile_stored(1, above + 16, row);
        _tile_stored(2, below, row);
        _tile_stored(3, below + 16, row);
    }
    FENCE();
}

INLINE __m256i rounded(__m512 x) { return (__m256i)_mm512_cvtneps_pbh(x); }
INLINE __m512 widened(__m256i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }
INLINE void store(bf16 *to, __m256i x) { _mm256_storeu_si256((void *)to, x); }
INLINE __m512 load(const bf16 *from) { return widened(_mm256_loadu_si256((const void *)from)); }

/* x as a high part and, for 3 terms, a low part. Returns the high part. */
INLINE __m256i split(__m512 x, int terms, bf16 *hi, bf16 *lo) {
    const __m256i top = rounded(x);
    store(hi, top);
    if (terms == 3) store(lo, rounded(_mm512_sub_ps(x, widened(top))));
    return top;
}

/* e^x: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2]. The constant comes first in min and max: that lets NaN through. */
INLINE __m512 exponential(__m512 x) {
    static const float taylor[] = {1.f / 120, 1.f / 24, 1.f / 6, 1.f / 2, 1, 1};
    x = _mm512_min_ps(_mm512_set1_ps(88), _mm512_max_ps(_mm512_set1_ps(-87), x));
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
    const __m512 near = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693145752f), x);
    const __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(1.42860677e-6f), near);
    __m512 p = _mm512_set1_ps(1.f / 720);
    for (int i = 0; i < 6; i++) p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(taylor[i]));
    return _mm512_scalef_ps(p, n);
}

/* The activation; its slopes are kept where a place is given. */
INLINE __m512 activate(__m512 x, int silu, char *slopes, int64_t i) {
    const __m512 one = _mm512_set1_ps(1), zero = _mm512_setzero_ps();
    if (!silu) {
        const __mmask16 on = _mm512_cmp_ps_mask(x, zero, _CMP_NLE_US);
        if (slopes) ((uint16_t *)slopes)[i / LANES] = on;
        return _mm512_maskz_mov_ps(on, x);
    }
    const __m512 gate = _mm512_div_ps(one, _mm512_add_ps(one, exponential(_mm512_sub_ps(zero, x)))), y = _mm512_mul_ps(x, gate);
    if (slopes) store((bf16 *)slopes + i, rounded(_mm512_fmadd_ps(y, _mm512_sub_ps(one, gate), gate)));
    return y;
}

INLINE __m512 times_slope(__m512 g, int silu, const char *slopes, int64_t i) {
    if (!silu) return _mm512_maskz_mov_ps(((const uint16_t *)slopes)[i / LANES], g);
    return _mm512_mul_ps(g, load((const bf16 *)slopes + i));
}

/* sum_i x_i y_i, or sum_i x_i without y; four sums at a time hide the adder's latency. */
INLINE float dot(const __m512 *x, const __m512 *y, int64_t width) {
    __m512 s[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
    UNROLL for (int64_t i = 0; i < width / LANES; i++)
        s[i & 3] = y ? _mm512_fmadd_ps(x[i], y[i], s[i & 3]) : _mm512_add_ps(s[i & 3], x[i]);
    return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(s[0], s[1]), _mm512_add_ps(s[2], s[3])));
}

INLINE void load_tiles(void) { _tile_loadconfig(&TILES); }

#endif
