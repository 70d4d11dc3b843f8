/* What a decoding step computes between the products with the base model's weights.

   One row is one sequence's new token. Every row is computed alone, in a fixed order of sums, so
   that its numbers do not depend on the rest of the batch. The residual stream, norms, RoPE,
   attention and LoRA are in float32; T is the type of weights and of the products' rows.

   Plain C, so that any compiler will do; loops are written for its vectorizer. Sums of products
   are marked, since their order may change. The structs are mirrored in kernels.py. */

#include <stdint.h>
#include <string.h>

#ifdef LUTHIER_BF16
typedef uint16_t T;
static inline float get(T value) {
    uint32_t bits = (uint32_t)value << 16;
    float number;
    memcpy(&number, &bits, 4);
    return number;
}
static inline T put(float number) { /* to nearest even; NaN stays NaN */
    uint32_t bits;
    memcpy(&bits, &number, 4);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return number != number ? 0x7fc0 : rounded;
}
#else
typedef float T;
static inline float get(T value) { return value; }
static inline T put(float number) { return number; }
#endif

enum { GROUP = 4, PARTS = 3, TILE = 64, COLUMNS = 256, QKV = 0, O, GATE_UP, DOWN, LINEARS };

/* LoRA matrices of one fused layer: a [rank, in], and b [rank, out], of which only blocks on the
   diagonal, one per linear layer, are not zero. */
typedef struct {
    const T *a, *b;
    int32_t rank, in, out, num_parts;
    struct { int32_t first_rank, end_rank, first_column, end_column; } parts[PARTS];
} lora_pair;

/* Rows of one adapter, which share the reading of its matrices. `pairs` is [layers][LINEARS]. */
typedef struct {
    const lora_pair *pairs;
    int32_t count, rows[GROUP];
} row_group;

typedef struct {
    int32_t index, unused;
    const T *q_norm, *k_norm; /* or NULL */
    const T *mlp_norm, *next_norm;
    T *keys, *values; /* [slots, kv heads, context, head dim] */
} layer;

typedef void (*parallel_function)(void (*)(void *), void *, unsigned threads, unsigned flags);

typedef struct {
    int32_t rows, dim, heads, kv_heads, head_dim, inner_dim, num_groups, threads;
    int64_t slot_stride, kv_head_stride; /* of the cache, in elements */
    float eps;
    int32_t has_lora;
    const row_group *groups;
    const int64_t *slots, *positions;
    const float *cos, *sin; /* [context, head dim]; the first half of the sines is negated */
    float *hidden;          /* residual stream [rows, dim] */
    T *x, *attended, *activated; /* inputs of the products */
    parallel_function parallel; /* GOMP_parallel of torch's own OpenMP, or NULL */
} step;

/* --- threads ------------------------------------------------------------------------------- */

typedef void (*unit_function)(const step *, const layer *, T *, int unit);
typedef struct {
    const step *s;
    const layer *l;
    T *data;
    unit_function run;
    int count, next;
} job;

static void work(void *argument) {
    job *j = argument;
    for (int unit; (unit = __atomic_fetch_add(&j->next, 1, __ATOMIC_RELAXED)) < j->count;)
        j->run(j->s, j->l, j->data, unit);
}

static void run_units(const step *s, const layer *l, T *data, unit_function run, int count) {
    job j = {s, l, data, run, count, 0};
    if (s->parallel && s->threads > 1 && count > 1)
        s->parallel(work, &j, s->threads, 0);
    else
        work(&j);
}

/* --- arithmetic ---------------------------------------------------------------------------- */

static inline void widen(float *restrict to, const T *restrict from, int n) {
    for (int i = 0; i < n; i++) to[i] = get(from[i]);
}

static inline float dot(const float *restrict a, const float *restrict b, int n) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* e^x within 2 units of the last place, as libm's is not vectorized. */
static inline float exponential(float x) {
    x = x < -87 ? -87 : x > 88 ? 88 : x;
    float n = (x * 1.44269504f + 12582912.f) - 12582912.f; /* rounds to an integer */
    float r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
    float p = 1 + r * (1 + r * (.5f + r * (1.66666667e-1f + r * (4.16666667e-2f
              + r * (8.33333333e-3f + r * 1.38888889e-3f)))));
    int32_t bits = ((int32_t)n + 127) << 23;
    float power;
    memcpy(&power, &bits, 4);
    return p * power;
}

static inline float square_root(float x) { return __builtin_sqrtf(x); }

static void rms_norm(const float *x, const T *weight, int n, float eps, float *out) {
    float scale = 1 / square_root(dot(x, x, n) / n + eps);
    for (int i = 0; i < n; i++) out[i] = x[i] * scale * get(weight[i]);
}

/* out += x · A · B for the rows of a group. */
static void add_lora(const row_group *g, int index, const T *x, T *out) {
    if (!g->pairs || !g->pairs[index].a) return;
    const lora_pair *p = &g->pairs[index];
    float rows[GROUP][p->in], z[GROUP][p->rank], a[p->in];
    for (int r = 0; r < g->count; r++) widen(rows[r], x + (int64_t)g->rows[r] * p->in, p->in);
    for (int k = 0; k < p->rank; k++) {
        widen(a, p->a + (int64_t)k * p->in, p->in);
        for (int r = 0; r < g->count; r++) z[r][k] = dot(a, rows[r], p->in);
    }
    for (int i = 0; i < p->num_parts; i++)
        for (int c = p->parts[i].first_column; c < p->parts[i].end_column; c += COLUMNS) {
            int n = p->parts[i].end_column - c < COLUMNS ? p->parts[i].end_column - c : COLUMNS;
            float y[GROUP][COLUMNS], b[COLUMNS];
            for (int r = 0; r < g->count; r++)
                widen(y[r], out + (int64_t)g->rows[r] * p->out + c, n);
            for (int k = p->parts[i].first_rank; k < p->parts[i].end_rank; k++) {
                widen(b, p->b + (int64_t)k * p->out + c, n);
                for (int r = 0; r < g->count; r++)
                    for (int j = 0; j < n; j++) y[r][j] += z[r][k] * b[j];
            }
            for (int r = 0; r < g->count; r++)
                for (int j = 0; j < n; j++)
                    out[(int64_t)g->rows[r] * p->out + c + j] = put(y[r][j]);
        }
}

/* --- attention ----------------------------------------------------------------------------- */

static inline void normalize_and_rotate(const step *s, const T *from, const T *norm, int position,
                                        float *out) {
    int n = s->head_dim, half = n / 2;
    float x[n];
    widen(x, from, n);
    if (norm) rms_norm(x, norm, n, s->eps, x);
    const float *cos = s->cos + (int64_t)position * n, *sin = s->sin + (int64_t)position * n;
    for (int i = 0; i < half; i++) out[i] = x[i] * cos[i] + x[i + half] * sin[i];
    for (int i = half; i < n; i++) out[i] = x[i] * cos[i] + x[i - half] * sin[i];
}

/* One row and kv head: RoPE, the cache's new position, and attention by tiles with a running
   softmax. `n` is the head's size, a constant where this is inlined. */
static inline __attribute__((always_inline)) void attend(const step *s, const layer *l, T *qkv,
                                                         int unit, const int n) {
    int row = unit / s->kv_heads, kv = unit % s->kv_heads, group = s->heads / s->kv_heads;
    int position = s->positions[row], length = position + 1;
    const T *in = qkv + (int64_t)row * (s->heads + 2 * s->kv_heads) * n;
    int64_t offset = s->slots[row] * s->slot_stride + kv * s->kv_head_stride;
    T *keys = l->keys + offset, *values = l->values + offset;

    float new_key[n], q[group][n], sums[group][n], max[group], total[group];
    normalize_and_rotate(s, in + (s->heads + kv) * n, l->k_norm, position, new_key);
    for (int i = 0; i < n; i++) keys[(int64_t)position * n + i] = put(new_key[i]);
    memcpy(values + (int64_t)position * n, in + (s->heads + s->kv_heads + kv) * n, n * sizeof(T));
    float scale = 1 / square_root(n);
    for (int g = 0; g < group; g++) {
        normalize_and_rotate(s, in + (kv * group + g) * n, l->q_norm, position, q[g]);
        for (int i = 0; i < n; i++) q[g][i] *= scale, sums[g][i] = 0;
        max[g] = -1e30f, total[g] = 0;
    }
    for (int start = 0; start < length; start += TILE) {
        int count = length - start < TILE ? length - start : TILE;
        float p[group][TILE], wide[n];
        for (int t = 0; t < count; t++) {
            widen(wide, keys + (int64_t)(start + t) * n, n);
            for (int g = 0; g < group; g++) p[g][t] = dot(q[g], wide, n);
        }
        for (int g = 0; g < group; g++) {
            float top = max[g], sum = 0;
            for (int t = 0; t < count; t++) top = p[g][t] > top ? p[g][t] : top;
            float shrink = exponential(max[g] - top);
            for (int i = 0; i < n; i++) sums[g][i] *= shrink;
            for (int t = 0; t < count; t++) p[g][t] = exponential(p[g][t] - top);
            for (int t = 0; t < count; t++) sum += p[g][t];
            total[g] = total[g] * shrink + sum, max[g] = top;
        }
        for (int t = 0; t < count; t++) {
            widen(wide, values + (int64_t)(start + t) * n, n);
            for (int g = 0; g < group; g++)
                for (int i = 0; i < n; i++) sums[g][i] += p[g][t] * wide[i];
        }
    }
    T *out = s->attended + ((int64_t)row * s->heads + kv * group) * n;
    for (int g = 0; g < group; g++)
        for (int i = 0; i < n; i++) out[g * n + i] = put(sums[g][i] / total[g]);
}

static void attend_unit(const step *s, const layer *l, T *qkv, int unit) {
    if (s->head_dim == 64) attend(s, l, qkv, unit, 64);
    else if (s->head_dim == 128) attend(s, l, qkv, unit, 128);
    else attend(s, l, qkv, unit, s->head_dim);
}

/* --- what follows each product ------------------------------------------------------------- */

static void add_and_norm(const step *s, const row_group *g, const T *delta, const T *weight) {
    for (int r = 0; r < g->count; r++) {
        int64_t start = (int64_t)g->rows[r] * s->dim;
        float *hidden = s->hidden + start, normed[s->dim];
        for (int i = 0; i < s->dim; i++) hidden[i] += get(delta[start + i]);
        rms_norm(hidden, weight, s->dim, s->eps, normed);
        for (int i = 0; i < s->dim; i++) s->x[start + i] = put(normed[i]);
    }
}

static void qkv_unit(const step *s, const layer *l, T *qkv, int unit) {
    add_lora(&s->groups[unit], l->index * LINEARS + QKV, s->x, qkv);
}

static void o_unit(const step *s, const layer *l, T *o, int unit) {
    add_lora(&s->groups[unit], l->index * LINEARS + O, s->attended, o);
    add_and_norm(s, &s->groups[unit], o, l->mlp_norm);
}

static void gate_up_unit(const step *s, const layer *l, T *gate_up, int unit) {
    const row_group *g = &s->groups[unit];
    int n = s->inner_dim;
    add_lora(g, l->index * LINEARS + GATE_UP, s->x, gate_up);
    for (int r = 0; r < g->count; r++) {
        const T *gate = gate_up + (int64_t)g->rows[r] * 2 * n, *up = gate + n;
        T *out = s->activated + (int64_t)g->rows[r] * n;
        for (int i = 0; i < n; i++) {
            float x = get(gate[i]);
            out[i] = put(x / (1 + exponential(-x)) * get(up[i]));
        }
    }
}

static void down_unit(const step *s, const layer *l, T *down, int unit) {
    add_lora(&s->groups[unit], l->index * LINEARS + DOWN, s->activated, down);
    add_and_norm(s, &s->groups[unit], down, l->next_norm);
}

static void begin_unit(const step *s, const layer *l, T *embedded, int unit) {
    add_and_norm(s, &s->groups[unit], embedded, l->next_norm);
}

/* `l->next_norm` is that of the first layer; `hidden` must be zeros. */
void begin(const step *s, const layer *l, T *embedded) {
    run_units(s, l, embedded, begin_unit, s->num_groups);
}

void after_qkv(const step *s, const layer *l, T *qkv) {
    if (s->has_lora) run_units(s, l, qkv, qkv_unit, s->num_groups);
    run_units(s, l, qkv, attend_unit, s->rows * s->kv_heads);
}

void after_o(const step *s, const layer *l, T *o) { run_units(s, l, o, o_unit, s->num_groups); }

void after_gate_up(const step *s, const layer *l, T *gate_up) {
    run_units(s, l, gate_up, gate_up_unit, s->num_groups);
}

void after_down(const step *s, const layer *l, T *down) {
    run_units(s, l, down, down_unit, s->num_groups);
}

/* Sizes of the structs, and of T: what was compiled must be what kernels.py expects. */
int64_t layout(void) {
    return (((int64_t)sizeof(step) * 1000 + sizeof(layer)) * 1000 + sizeof(row_group)) * 1000
           + sizeof(lora_pair) * 10 + sizeof(T);
}
