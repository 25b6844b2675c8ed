/* Runs the kernel on a fixture, for processors on which Python's packages are not installed:
 *
 *     driver FIXTURE
 *
 * The fixture: 8 int64 (observation, action, width, depth, layer_norm, silu, rows, time), then float32: weights [outputs, inputs]
 * and bias of each layer, scale; start, actions, cotangent and what a rollout gives (states, and the cotangents of start and
 * actions); sequence, goals, goal_weight, features and the lifted gradients (of states, of actions).
 * A line for each result: its name, its relative error, and how many rows have other bits alone than in the batch. */
#include <stdio.h>
#include <stdlib.h>

#include "mlp.c"

static FILE *file;

static void *memory(int64_t bytes) {
    void *at = calloc(1, bytes + 64);
    if (!at) exit(2);
    return at;
}

static float *numbers(int64_t count) {
    float *at = memory(4 * count);
    if (fread(at, 4, count, file) != (size_t)count) exit(3);
    return at;
}

static int64_t whole(int64_t size) { return (size + PANEL - 1) / PANEL * PANEL; }

/* The panels of a matrix whose element (i, j) is at i * down + j * right. */
static Matrix matrix(const float *from, int64_t inputs, int64_t outputs, int64_t down, int64_t right) {
    const int64_t tall = whole(inputs), wide = whole(outputs);
    float *full = memory(4 * tall * wide);
    for (int64_t i = 0; i < inputs; i++)
        for (int64_t j = 0; j < outputs; j++) full[(j / PANEL * tall + i) * PANEL + j % PANEL] = from[i * down + j * right];
    return (Matrix){0, 0, full, tall, wide, inputs};
}

static void report(const char *name, const float *batch, const float *alone, const float *exact, int64_t rows, int64_t each) {
    double gap = 0, size = 0;
    int64_t differing = 0;
    for (int64_t r = 0; r < rows; r++) {
        differing += memcmp(batch + r * each, alone + r * each, 4 * each) != 0;
        for (int64_t i = r * each; i < (r + 1) * each; i++) {
            const double off = (double)batch[i] - exact[i];
            gap += off * off, size += (double)exact[i] * exact[i];
        }
    }
    printf("%s %.3e %ld\n", name, sqrt(gap / size), (long)differing);
}

int main(int count, char **words) {
    int64_t sizes[8];
    if (count != 2 || !(file = fopen(words[1], "rb")) || fread(sizes, 8, 8, file) != 8) return 2;
    const int64_t D = sizes[0], A = sizes[1], width = sizes[2], depth = sizes[3], rows = sizes[6], time = sizes[7];
    Matrix *forward = memory((depth + 1) * sizeof(Matrix)), *backward = memory((depth + 1) * sizeof(Matrix));
    const float **bias = memory((depth + 1) * sizeof(float *));
    for (int64_t l = 0; l <= depth; l++) {
        const int64_t inputs = l ? width : D + A, outputs = l < depth ? width : D;
        const float *weight = numbers(inputs * outputs);
        forward[l] = matrix(weight, inputs, outputs, 1, inputs);
        backward[l] = matrix(weight, outputs, inputs, inputs, 1);
        float *padded = memory(4 * whole(outputs));
        memcpy(padded, numbers(outputs), 4 * outputs);
        bias[l] = padded;
    }
    const Model m = {D, A, width, depth, sizes[4], sizes[5], 3, forward, backward, bias, numbers(D)};
    float *scratch = memory(mlp_scratch_bytes(&m));
    char *kept = memory((rows + ROWS - 1) / ROWS * time * mlp_kept_bytes(&m));
    const int64_t wide = time * D, narrow = time * A;

    const float *start = numbers(rows * D), *actions = numbers(rows * narrow), *cotangent = numbers(rows * wide);
    const float *exact[3] = {numbers(rows * wide), numbers(rows * D), numbers(rows * narrow)};
    float *states[2], *to_start[2], *to_actions[2];
    for (int alone = 0; alone < 2; alone++) {
        states[alone] = memory(4 * rows * wide), to_start[alone] = memory(4 * rows * D);
        to_actions[alone] = memory(4 * rows * narrow);
        const int64_t each = alone ? 1 : rows;
        for (int64_t r = 0; r < rows; r += each) {
            mlp_forward(&m, each, time, start + r * D, actions + r * narrow, states[alone] + r * wide, kept, scratch);
            mlp_backward(&m, each, time, cotangent + r * wide, kept, to_start[alone] + r * D, to_actions[alone] + r * narrow, scratch);
        }
    }
    report("states", states[0], states[1], exact[0], rows, wide);
    report("to_start", to_start[0], to_start[1], exact[1], rows, D);
    report("to_actions", to_actions[0], to_actions[1], exact[2], rows, narrow);

    const float *sequence = numbers(rows * wide), *goals = numbers(rows * D), *weight = numbers(rows * time), *features = numbers(D);
    const float *lifted[2] = {numbers(rows * wide), numbers(rows * narrow)};
    for (int alone = 0; alone < 2; alone++) {
        memset(states[alone], 0, 4 * rows * wide);
        const int64_t each = alone ? 1 : rows * time;
        for (int64_t r = 0; r < rows * time; r += each)
            mlp_lifted(&m, r, each, time, sequence, actions, goals, weight, features, states[alone], to_actions[alone], kept, scratch);
    }
    report("lifted_states", states[0], states[1], lifted[0], rows, wide);
    report("lifted_actions", to_actions[0], to_actions[1], lifted[1], rows, narrow);
    return 0;
}
