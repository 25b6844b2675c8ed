/* Products on AMX tiles, of bfloat16 parts. */
#ifndef TILES_H
#define TILES_H

#include <sys/syscall.h>
#include <unistd.h>

#include "vectors.h"

enum { TOGETHER = 1 }; /* between products, rows are computed one by one; a product takes one or two tiles of 16 rows */

static const struct {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} TILES __attribute__((aligned(64))) = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

/* Request the tile registers from the operating system; 0 if it refuses. */
INLINE int granted(void) { return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0; }

/* The compiler does not see the memory that tile instructions read and write. */
#define FENCE() __asm__ volatile("" ::: "memory")

#define LOAD_ROWS(from) \
    _tile_loadd(4, (from) + 32 * k, stride); \
    if (both) _tile_loadd(5, (from) + 32 * k + 16 * m->inputs, stride)
/* Weights stream from the second-level cache: the hint keeps them from evicting the rows from the first. */
#define LOAD_WEIGHTS(from) \
    _tile_stream_loadd(6, (from), 64); \
    _tile_stream_loadd(7, (from) + TILE * steps, 64)
#define MULTIPLY() \
    _tile_dpbf16ps(0, 4, 6); \
    _tile_dpbf16ps(1, 4, 7); \
    if (both) { \
        _tile_dpbf16ps(2, 5, 6); \
        _tile_dpbf16ps(3, 5, 7); \
    }

INLINE void product_tiles(const bf16 *left_hi, const bf16 *left_lo, const Matrix *m, int terms, float *out, const int both) {
    const int64_t steps = m->inputs / 32, stride = 2 * m->inputs, row = 4 * m->outputs;
    FENCE();
    for (int64_t pair = 0; pair < m->outputs / 32; pair++) {
        const bf16 *hi = m->hi + pair * 2 * steps * TILE, *lo = m->lo + pair * 2 * steps * TILE;
        _tile_zero(0);
        _tile_zero(1);
        if (both) {
            _tile_zero(2);
            _tile_zero(3);
        }
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
        if (both) {
            _tile_stored(2, below, row);
            _tile_stored(3, below + 16, row);
        }
    }
    FENCE();
}

/* out [count, outputs] = left [count, inputs] @ m; one or two tiles of rows by two tiles of outputs at a time. Rows of a tile
 * after the last one go through the product and are never read. */
static __attribute__((noinline)) void product(const bf16 *left_hi, const bf16 *left_lo, int64_t count, const Matrix *m, int terms,
                                              float *out) {
    if (count > 16) product_tiles(left_hi, left_lo, m, terms, out, 1);
    else product_tiles(left_hi, left_lo, m, terms, out, 0);
}

/* Store the number at `at` of a product's left operand: a high part and, for 3 terms, a low part. */
INLINE void put(bf16 *hi, bf16 *lo, int64_t at, __m512 x, int terms) {
    const __m256i top = rounded(x);
    store_part(hi + at, top);
    if (terms == 3) store_part(lo + at, rounded(_mm512_sub_ps(x, widened(top))));
}

INLINE void begin(void) { _tile_loadconfig(&TILES); }
INLINE void end(void) { _tile_release(); }

#endif
