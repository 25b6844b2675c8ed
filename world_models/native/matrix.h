/* Definitions that all kernels share. */
#ifndef MATRIX_H
#define MATRIX_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { ROWS = 32 };
typedef uint16_t bf16;

/* A matrix [inputs, outputs]; both sizes are padded with zeros to multiples of PANEL.
 * hi, lo: high and low parts, cut into tiles of 16 pairs of inputs x 16 outputs, inputs innermost; null without bfloat16.
 * full: panels [outputs / PANEL, inputs, PANEL] of float32; not read with tile registers.
 * used: number of inputs without the padding. */
typedef struct {
    const bf16 *hi, *lo;
    const float *full;
    int64_t inputs, outputs, used;
} Matrix;

#endif
