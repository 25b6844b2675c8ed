/* Arithmetic on AVX-512 for the kernels with bfloat16: parts of numbers, activations, sums. */
#ifndef VECTORS_H
#define VECTORS_H

#include <immintrin.h>

#include "matrix.h"

enum { TILE = 512, LANES = 16, PANEL = 32 };
typedef __m512 vec;
typedef bf16 part; /* the numbers that a product reads, and those that are kept for the derivative */

INLINE vec splat(float x) { return _mm512_set1_ps(x); }
INLINE vec load(const float *from) { return _mm512_loadu_ps(from); }
INLINE void store(float *to, vec x) { _mm512_storeu_ps(to, x); }
INLINE __m256i rounded(__m512 x) { return (__m256i)_mm512_cvtneps_pbh(x); }
INLINE __m512 widened(__m256i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }
INLINE void store_part(bf16 *to, __m256i x) { _mm256_storeu_si256((void *)to, x); }
INLINE __m512 load_part(const bf16 *from) { return widened(_mm256_loadu_si256((const void *)from)); }

/* e^x: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2]. The constant comes first in min and max so that NaN propagates. */
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

/* Slopes of a relu take one bit per unit. */
INLINE int64_t slope_bytes(int64_t width, int silu) { return silu ? 2 * width : width / 8; }

/* The activation; its slopes are stored if a destination is given. */
INLINE __m512 activate(__m512 x, int silu, char *slopes, int64_t i) {
    const __m512 one = _mm512_set1_ps(1), zero = _mm512_setzero_ps();
    if (!silu) {
        const __mmask16 on = _mm512_cmp_ps_mask(x, zero, _CMP_NLE_US);
        if (slopes) ((uint16_t *)slopes)[i / LANES] = on;
        return _mm512_maskz_mov_ps(on, x);
    }
    const __m512 gate = _mm512_div_ps(one, _mm512_add_ps(one, exponential(_mm512_sub_ps(zero, x)))), y = _mm512_mul_ps(x, gate);
    if (slopes) store_part((bf16 *)slopes + i, rounded(_mm512_fmadd_ps(y, _mm512_sub_ps(one, gate), gate)));
    return y;
}

INLINE __m512 times_slope(__m512 g, int silu, const char *slopes, int64_t i) {
    if (!silu) return _mm512_maskz_mov_ps(((const uint16_t *)slopes)[i / LANES], g);
    return _mm512_mul_ps(g, load_part((const bf16 *)slopes + i));
}

/* sum_i x_i y_i, or sum_i x_i without y; four sums at a time hide the adder's latency. */
INLINE float dot(const __m512 *x, const __m512 *y, int64_t width) {
    __m512 s[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
    UNROLL for (int64_t i = 0; i < width / LANES; i++)
        s[i & 3] = y ? _mm512_fmadd_ps(x[i], y[i], s[i & 3]) : _mm512_add_ps(s[i & 3], x[i]);
    return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(s[0], s[1]), _mm512_add_ps(s[2], s[3])));
}

#endif
