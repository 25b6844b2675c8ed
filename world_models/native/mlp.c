/* The residual MLP's rollout and its derivative for frozen weights: with bfloat16 on x86 cores with AMX tiles or AVX-512 lanes,
 * and in float32 on any processor.
 *
 * Rows go through all layers and all time steps in blocks of ROWS, so that only data for the derivative leaves the core's
 * caches. In float32 (floats.h) every product is float32, and so is the derivative. With bfloat16, sums are float32, and a
 * forward product has `terms` terms. 1: both sides are rounded to bfloat16. 3: on tiles, each number is the sum of
 * two bfloat16 numbers (about 16 bits) and the product of the two low parts is left out; on lanes, products are float32,
 * because three passes would take longer. A backward product has one term: 8 bits are enough for a derivative. Everything
 * between the products is float32.
 * A row's arithmetic never depends on the other rows. NaN and infinity propagate, as in float32.
 */
#if defined __AMX_BF16__
#include "tiles.h"
#elif defined __AVX512BF16__
#include "lanes.h"
#else
#include "floats.h"
#endif

enum { MOST_LANES = 1024 / LANES };

typedef struct {
    int64_t observation, action, width, depth, layer_norm, silu, terms;
    const Matrix *forward, *backward; /* depth + 1 each: input layer, blocks, output layer; backward ones are transposed */
    const float *const *bias;
    const float *scale;
} Model;

typedef struct {
    float *hidden, *out; /* [ROWS, outputs of a product] */
    part *hi, *lo;       /* [ROWS, inputs of the next product] */
    float *line, *carry; /* [ROWS, padded observation and action] */
    int64_t rows;        /* number of rows computed: those of the block, rounded up to the smallest number that a product takes */
} Scratch;

/* Data of one time step for a block's backward pass: slopes of the activations, the normalised
 * inputs of the blocks, and the reciprocal standard deviations. */
typedef struct {
    char *slopes;
    part *normed;
    float *rstd;
} Kept;

/* Request the registers that the products need from the operating system; 0 if it refuses. */
int mlp_init(void) { return granted(); }

/* Inputs and outputs of matrices are padded to a multiple of this, which is also the number of outputs in a panel. */
int mlp_panel(void) { return PANEL; }

/* Bytes that a block of ROWS rows keeps per time step. */
int64_t mlp_kept_bytes(const Model *m) {
    return ROWS * (m->depth * slope_bytes(m->width, m->silu) + (m->depth - 1) * ((int64_t)sizeof(part) * m->width + 4));
}

INLINE int64_t line_floats(const Model *m) {
    const int64_t in = m->forward[0].inputs, out = m->forward[m->depth].outputs;
    return ROWS * (in > out ? in : out);
}

/* Bytes of scratch memory that a call needs. */
int64_t mlp_scratch_bytes(const Model *m) {
    const int64_t line = line_floats(m), wide = ROWS * m->width;
    return 4 * (3 * (wide > line ? wide : line) + 2 * line);
}

INLINE Scratch scratch_in(const Model *m, float *memory) {
    const int64_t line = line_floats(m), wide = ROWS * m->width, size = wide > line ? wide : line;
    part *hi = (part *)(memory + 2 * size);
    float *lines = memory + 3 * size;
    return (Scratch){memory, memory + size, hi, hi + size, lines, lines + line, ROWS};
}

INLINE int64_t computed(int64_t rows) { return (rows + TOGETHER - 1) / TOGETHER * TOGETHER; }

INLINE Kept kept_in(const Model *m, char *memory, int64_t width, int silu) {
    char *normed = memory + ROWS * m->depth * slope_bytes(width, silu);
    return (Kept){memory, (part *)normed, (float *)(normed + ROWS * (m->depth - 1) * width * (int64_t)sizeof(part))};
}

INLINE Kept kept_row(Kept k, int64_t layer, int64_t row, int64_t width, int silu) {
    const int64_t at = layer * ROWS + row;
    return (Kept){k.slopes + at * slope_bytes(width, silu), k.normed + at * width, k.rstd + at};
}

/* hidden (+)= activation(out + bias), which is then normalised to give the next product's operand. */
INLINE void forward_row(const Scratch *s, int64_t at, const float *bias, const Kept *kept, int first, int last, int norm,
                        int64_t width, int silu, int terms) {
    float *hidden = s->hidden + at;
    const float *out = s->out + at;
    vec v[MOST_LANES];
    UNROLL for (int64_t i = 0; i < width; i += LANES) {
        const vec pre = load(out + i) + load(bias + i);
        const vec active = activate(pre, silu, kept ? kept->slopes : 0, i);
        v[i / LANES] = active;
        if (!first) v[i / LANES] += load(hidden + i);
        if (!last) store(hidden + i, v[i / LANES]);
    }
    if (norm && !last) {
        const vec mean = splat(dot(v, 0, width) / width);
        UNROLL for (int64_t i = 0; i < width / LANES; i++) v[i] -= mean;
        const float rstd = 1 / sqrtf(dot(v, v, width) / width + 1e-5f);
        UNROLL for (int64_t i = 0; i < width / LANES; i++) v[i] *= splat(rstd);
        if (kept) *kept->rstd = rstd;
    }
    UNROLL for (int64_t i = 0; i < width; i += LANES) {
        put(s->hi, s->lo, at + i, v[i / LANES], terms);
        if (kept && !last) put(kept->normed, 0, i, v[i / LANES], 1);
    }
}

/* One step of a block's rows: from the input layer's operand in s to the output layer's product in s->out. */
INLINE void forward_block(const Model *m, const Scratch *s, char *memory, int64_t width, int silu, int terms) {
    const Kept all = kept_in(m, memory, width, silu);
    product(s->hi, s->lo, s->rows, &m->forward[0], terms, s->out);
    for (int64_t l = 0; l < m->depth; l++) {
        const int first = l == 0, last = l == m->depth - 1;
        for (int64_t r = 0; r < s->rows; r++) {
            const Kept row = kept_row(all, l, r, width, silu);
            forward_row(s, r * width, m->bias[l], memory ? &row : 0, first, last, m->layer_norm, width, silu, terms);
        }
        product(s->hi, s->lo, s->rows, &m->forward[l + 1], terms, s->out);
    }
}

/* g += the cotangent of a block's input through its LayerNorm; g times the preceding slopes is the next product's operand. */
INLINE void backward_row(float *g, const float *inner, const Kept *kept, part *hi, int norm, int64_t width, int silu) {
    vec v[MOST_LANES], x[MOST_LANES];
    UNROLL for (int64_t i = 0; i < width; i += LANES) v[i / LANES] = load(inner + i);
    if (norm) {
        UNROLL for (int64_t i = 0; i < width; i += LANES) x[i / LANES] = load_part(kept->normed + i);
        const vec mean = splat(dot(v, 0, width) / width), along = splat(dot(v, x, width) / width);
        UNROLL for (int64_t i = 0; i < width / LANES; i++) {
            v[i] = v[i] - mean - x[i] * along;
            v[i] *= splat(*kept->rstd);
        }
    }
    UNROLL for (int64_t i = 0; i < width; i += LANES) {
        const vec sum = v[i / LANES] + load(g + i);
        store(g + i, sum);
        put(hi, 0, i, times_slope(sum, silu, kept->slopes, i), 1);
    }
}

/* One step back: from the output layer's cotangent in s to that of the input layer's input in s->out. */
INLINE void backward_block(const Model *m, const Scratch *s, char *memory, int64_t width, int silu) {
    const Kept all = kept_in(m, memory, width, silu);
    product(s->hi, s->lo, s->rows, &m->backward[m->depth], 1, s->hidden);
    for (int64_t r = 0; r < s->rows; r++) {
        const Kept row = kept_row(all, m->depth - 1, r, width, silu);
        const int64_t at = r * width;
        UNROLL for (int64_t i = 0; i < width; i += LANES) {
            const vec g = load(s->hidden + at + i);
            put(s->hi, s->lo, at + i, times_slope(g, silu, row.slopes, i), 1);
        }
    }
    for (int64_t l = m->depth - 1; l > 0; l--) {
        product(s->hi, s->lo, s->rows, &m->backward[l], 1, s->out);
        for (int64_t r = 0; r < s->rows; r++) {
            const Kept row = kept_row(all, l - 1, r, width, silu);
            const int64_t at = r * width;
            backward_row(s->hidden + at, s->out + at, &row, s->hi + at, m->layer_norm, width, silu);
        }
    }
    product(s->hi, s->lo, s->rows, &m->backward[0], 1, s->out);
}

/* The block functions, specialised so that the compiler knows the shapes of their loops. */
static void forward_step(const Model *m, const Scratch *s, char *memory) {
    if (m->width == 256 && m->silu && m->terms == 3) forward_block(m, s, memory, 256, 1, 3);
    else if (m->width == 256 && m->terms == 3) forward_block(m, s, memory, 256, 0, 3);
    else forward_block(m, s, memory, m->width, m->silu, m->terms);
}

static void backward_step(const Model *m, const Scratch *s, char *memory) {
    if (m->width == 256 && m->silu) backward_block(m, s, memory, 256, 1);
    else if (m->width == 256) backward_block(m, s, memory, 256, 0);
    else backward_block(m, s, memory, m->width, m->silu);
}

static void put_lines(const Scratch *s, const float *x, int64_t floats, int terms) {
    for (int64_t i = 0; i < floats; i += LANES) put(s->hi, s->lo, i, load(x + i), terms);
}

/* States [n, time, observation] that follow from start [n, observation] and actions [n, time, action]; data for the backward
 * pass go to `kept` (mlp_kept_bytes for each block of rows and step), unless that is null. */
void mlp_forward(const Model *m, int64_t n, int64_t time, const float *start, const float *actions, float *states, char *kept,
                 float *memory) {
    begin();
    Scratch s = scratch_in(m, memory);
    const int64_t D = m->observation, A = m->action, in = m->forward[0].inputs, out = m->forward[m->depth].outputs;
    const int64_t bytes = kept ? mlp_kept_bytes(m) : 0;
    memset(s.line, 0, 4 * ROWS * in);
    for (int64_t first = 0; first < n; first += ROWS) {
        const int64_t rows = n - first < ROWS ? n - first : ROWS;
        s.rows = computed(rows);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t i = 0; i < D; i++) s.line[r * in + i] = start[(first + r) * D + i];
        for (int64_t t = 0; t < time; t++, kept += bytes) {
            for (int64_t r = 0; r < rows; r++)
                for (int64_t i = 0; i < A; i++) s.line[r * in + D + i] = actions[((first + r) * time + t) * A + i];
            put_lines(&s, s.line, s.rows * in, m->terms);
            forward_step(m, &s, kept);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t i = 0; i < D; i++) {
                    s.line[r * in + i] += m->scale[i] * (s.out[r * out + i] + m->bias[m->depth][i]);
                    states[((first + r) * time + t) * D + i] = s.line[r * in + i];
                }
        }
    }
    end();
}

/* The cotangents of start (unless null) and actions from those of all states. */
void mlp_backward(const Model *m, int64_t n, int64_t time, const float *cotangent, char *kept, float *to_start,
                  float *to_actions, float *memory) {
    begin();
    Scratch s = scratch_in(m, memory);
    const int64_t D = m->observation, A = m->action, out = m->backward[m->depth].inputs, in = m->backward[0].outputs;
    const int64_t bytes = mlp_kept_bytes(m);
    memset(s.line, 0, 4 * ROWS * out);
    for (int64_t first = 0; first < n; first += ROWS, kept += time * bytes) {
        const int64_t rows = n - first < ROWS ? n - first : ROWS;
        s.rows = computed(rows);
        memset(s.carry, 0, 4 * ROWS * D);
        for (int64_t t = time - 1; t >= 0; t--) {
            for (int64_t r = 0; r < rows; r++)
                for (int64_t i = 0; i < D; i++) {
                    s.carry[r * D + i] += cotangent[((first + r) * time + t) * D + i];
                    s.line[r * out + i] = s.carry[r * D + i] * m->scale[i];
                }
            put_lines(&s, s.line, s.rows * out, 1);
            backward_step(m, &s, kept + t * bytes);
            for (int64_t r = 0; r < rows; r++) {
                for (int64_t i = 0; i < D; i++) s.carry[r * D + i] += s.out[r * in + i];
                for (int64_t i = 0; i < A; i++) to_actions[((first + r) * time + t) * A + i] = s.out[r * in + D + i];
            }
        }
        if (to_start) memcpy(to_start + first * D, s.carry, 4 * rows * D);
    }
    end();
}

/* GRASP's reshaped gradients of rows first.. of the flat [problems, time] grid: a step forward, the cotangent of its prediction
 * F, and the step back, block by block, so that the data of the step back stay in the caches.
 *   sequence [problems, time, observation]: s_0..s_{T-1}, where s_1.. are the virtual states and the targets
 *   loss of a row: mean((F - s_{t+1})^2) for t < T - 1, plus goal_weight [problems, time] * mean(features * (F - goal)^2)
 * to_states has the shape of sequence; its last time step is not written. */
void mlp_lifted(const Model *m, int64_t first, int64_t n, int64_t time, const float *sequence, const float *actions,
                const float *goals, const float *goal_weight, const float *features, float *to_states, float *to_actions,
                char *kept, float *memory) {
    begin();
    Scratch s = scratch_in(m, memory);
    const int64_t D = m->observation, A = m->action, in = m->forward[0].inputs, out = m->forward[m->depth].outputs;
    const float unit = 2.f / D;
    for (const int64_t stop = first + n; first < stop; first += ROWS) {
        const int64_t rows = stop - first < ROWS ? stop - first : ROWS;
        s.rows = computed(rows);
        memset(s.line, 0, 4 * ROWS * in);
        for (int64_t r = 0; r < rows; r++) {
            for (int64_t i = 0; i < D; i++) s.line[r * in + i] = sequence[(first + r) * D + i];
            for (int64_t i = 0; i < A; i++) s.line[r * in + D + i] = actions[(first + r) * A + i];
        }
        put_lines(&s, s.line, s.rows * in, m->terms);
        forward_step(m, &s, kept);
        memset(s.carry, 0, 4 * ROWS * out);
        for (int64_t r = 0; r < rows; r++) {
            const int64_t row = first + r, problem = row / time, last = row % time == time - 1;
            for (int64_t i = 0; i < D; i++) {
                const float delta = s.out[r * out + i] + m->bias[m->depth][i];
                const float next = s.line[r * in + i] + m->scale[i] * delta;
                float cotangent = goal_weight[row] * (unit * features[i]) * (next - goals[problem * D + i]);
                if (!last) {
                    const float residual = unit * (next - sequence[(row + 1) * D + i]);
                    to_states[row * D + i] = -residual;
                    cotangent += residual;
                }
                s.carry[r * out + i] = cotangent * m->scale[i];
            }
        }
        put_lines(&s, s.carry, s.rows * out, 1);
        backward_step(m, &s, kept);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t i = 0; i < A; i++) to_actions[(first + r) * A + i] = s.out[r * in + D + i];
    }
    end();
}
