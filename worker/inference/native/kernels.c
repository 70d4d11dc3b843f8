/* Forward pass of Llama-shaped models over rows, each of which is a token of some sequence, and
   passes of training.

   Every row is computed alone, in a fixed order of sums, so that its numbers do not depend on the
   rest of the batch. The residual stream, norms, RoPE, attention, LoRA and the products' outputs
   are in float32; inputs of products and the cache are of the type T.

   Plain C, so that any compiler will do. The structs are mirrored in structs.py. */

#include "numbers.h"
#include "threads.h"
#include "product.h"
#include "lora.h"

enum { QKV, O, GATE_UP, DOWN, LINEARS };

typedef struct {
    matrix qkv, o, gate_up, down;
    const T *q_norm, *k_norm; /* or NULL */
    const T *mlp_norm, *next_norm;
    T *keys, *values; /* [slots, kv heads, context, head dim] */
    int64_t index;
} layer;

/* Rows of one prompt that follow each other. */
typedef struct {
    int32_t first_row, count;
} row_range;

typedef struct {
    int32_t rows, dim, heads, kv_heads, head_dim, inner_dim, num_groups, has_lora;
    int64_t slot_stride, kv_head_stride; /* of the cache, in elements */
    const row_group *groups;
    const row_range *ranges; /* of prompts */
    const int64_t *slots, *positions;
    const float *cos, *sin; /* [context, head dim]; the first half of the sines is negated */
    /* Rows are padded, except of `hidden` and `queries`. */
    float *hidden, *out;                   /* residual stream, output of a product */
    T *x, *queries, *attended, *activated; /* inputs of products and of attention */
    row_block *blocks;                     /* inputs of int8 products, or NULL */
    float *z;                              /* x · A of LoRA, [rows, z_stride] */
    threads pool;
    float eps;
    int32_t z_stride, num_ranges, unused;
} step;

typedef struct {
    const step *s;
    const layer *l;
    const T *embedded;
} layer_task;

#include "attention.h"
#include "prompt_attention.h"
#include "training.h"
#include "small_products.h"
/* With shorter vectors torch's products are faster. */
#if defined(__AVX2__)
#include "lora_training.h"
#include "short_attention.h"
#endif
#include "encoder_training.h"
#include "text_attention.h"
#include "adamw.h"
#include "training_attention.h"
#include "hadamard_product.h"

/* --- what follows each product ------------------------------------------------------------- */

/* The next norm of the residual stream, after `delta` was added to it. */
static void normalize(const step *s, int row, const float *delta, const T *weight) {
    float *hidden = s->hidden + (int64_t)row * s->dim, normed[s->dim];
    T *x = s->x + (int64_t)row * padded(s->dim);
    if (delta)
        for (int i = 0; i < s->dim; i++) hidden[i] += delta[i];
    rms_norm(hidden, weight, s->dim, s->eps, normed);
    for (int i = 0; i < s->dim; i++) x[i] = put(normed[i]);
}

static void add_and_normalize(const step *s, const row_group *g, const T *weight) {
    for (int r = 0; r < g->count; r++)
        normalize(s, g->rows[r], s->out + (int64_t)g->rows[r] * padded(s->dim), weight);
}

static void begin_unit(const void *task, int row) {
    const layer_task *t = task;
    int n = t->s->dim;
    widen(t->s->hidden + (int64_t)row * n, t->embedded + (int64_t)row * n, n);
    normalize(t->s, row, 0, t->l->next_norm);
}

/* Add what an adapter has for the outputs `first` to `end`. */
static void adapt(const step *s, const layer *l, int kind, const row_group *g, int first, int end) {
    project_up(g, l->index * LINEARS + kind, s->z, s->z_stride, s->out, first, end);
}

/* A few groups are split by columns, so that all threads have work. */
enum { MANY_GROUPS = 8, COLUMNS = 256 };

static int columns_per_unit(const step *s, int columns) {
    return s->num_groups < MANY_GROUPS ? COLUMNS : columns;
}

static int count_units(const step *s, int columns) {
    int size = columns_per_unit(s, columns);
    return s->num_groups * ((columns + size - 1) / size);
}

static void qkv_unit(const void *task, int unit) {
    const layer_task *t = task;
    int size = columns_per_unit(t->s, t->l->qkv.out), first = unit / t->s->num_groups * size;
    adapt(t->s, t->l, QKV, &t->s->groups[unit % t->s->num_groups], first, first + size);
}

static void o_unit(const void *task, int unit) {
    const layer_task *t = task;
    const row_group *g = &t->s->groups[unit];
    adapt(t->s, t->l, O, g, 0, t->s->dim);
    add_and_normalize(t->s, g, t->l->mlp_norm);
}

static void gate_up_unit(const void *task, int unit) {
    const layer_task *t = task;
    const step *s = t->s;
    const row_group *g = &s->groups[unit % s->num_groups];
    int n = s->inner_dim, size = columns_per_unit(s, n), first = unit / s->num_groups * size;
    int end = first + size < n ? first + size : n;
    adapt(s, t->l, GATE_UP, g, first, end);
    adapt(s, t->l, GATE_UP, g, n + first, n + end);
    for (int r = 0; r < g->count; r++) {
        const float *gate = s->out + (int64_t)g->rows[r] * t->l->gate_up.out, *up = gate + n;
        T *out = s->activated + (int64_t)g->rows[r] * t->l->down.in;
        for (int i = first; i < end; i++)
            out[i] = put(gate[i] / (1 + exponential(-gate[i])) * up[i]);
    }
}

static void down_unit(const void *task, int unit) {
    const layer_task *t = task;
    const row_group *g = &t->s->groups[unit];
    adapt(t->s, t->l, DOWN, g, 0, t->s->dim);
    add_and_normalize(t->s, g, t->l->next_norm);
}

/* --- the forward pass ---------------------------------------------------------------------- */

typedef struct {
    product_task product;
    const step *s;
    int pair; /* of an adapter's table */
} project_task;

/* The first units are those of LoRA, which has the same inputs. */
static void project_unit(const void *task, int unit) {
    const project_task *p = task;
    int panel = unit - p->s->num_groups;
    if (panel >= 0) panel_unit_of(p->product.m)(&p->product, panel);
    else project_down(&p->s->groups[unit], p->pair, p->product.x, p->s->z, p->s->z_stride);
}

static void project(team *t, const layer_task *task, int kind, const matrix *m, const T *x) {
    const step *s = task->s;
    project_task p = {{m, x, s->blocks, s->out, s->rows}, s, task->l->index * LINEARS + kind};
    quantize_inputs(t, &p.product);
    if (s->has_lora) run_units(t, project_unit, &p, s->num_groups + count_panels(m));
    else run_units(t, panel_unit_of(m), &p.product, count_panels(m));
}

static void compute_qkv(team *t, const layer_task *task) {
    const step *s = task->s;
    project(t, task, QKV, &task->l->qkv, s->x);
    if (s->has_lora) run_units(t, qkv_unit, task, count_units(s, task->l->qkv.out));
}

static void finish_layer(team *t, const layer_task *task) {
    const step *s = task->s;
    project(t, task, O, &task->l->o, s->attended);
    run_units(t, o_unit, task, s->num_groups);
    project(t, task, GATE_UP, &task->l->gate_up, s->x);
    run_units(t, gate_up_unit, task, count_units(s, s->inner_dim));
    project(t, task, DOWN, &task->l->down, s->activated);
    run_units(t, down_unit, task, s->num_groups);
}

static void begin_pass(team *t, const void *pass) {
    const layer_task *task = pass;
    run_units(t, begin_unit, task, task->s->rows);
}

/* `first->next_norm` is that of the first layer. */
void begin(const step *s, const layer *first, const T *embedded) {
    layer_task task = {s, first, embedded};
    run_pass(&s->pool, begin_pass, &task);
}

typedef struct {
    const step *s;
    const layer *layers;
    int64_t num_layers;
} forward_task;

static void decode_pass(team *t, const void *pass) {
    const forward_task *f = pass;
    for (const layer *l = f->layers; l < f->layers + f->num_layers; l++) {
        layer_task task = {f->s, l, 0};
        compute_qkv(t, &task);
        run_units(t, attend_unit, &task, f->s->rows * f->s->kv_heads);
        finish_layer(t, &task);
    }
}

/* Rows are new tokens of sequences: all layers, whose last norm's output is in `s->x`. */
void decode(const step *s, const layer *layers, int64_t num_layers) {
    forward_task task = {s, layers, num_layers};
    run_pass(&s->pool, decode_pass, &task);
}

static void prefill_pass(team *t, const void *pass) {
    const forward_task *f = pass;
    const step *s = f->s;
    for (const layer *l = f->layers; l < f->layers + f->num_layers; l++) {
        layer_task task = {s, l, 0};
        compute_qkv(t, &task);
        run_units(t, rotate_unit, &task, s->rows * s->kv_heads);
        run_units(t, attend_prompt_unit, &task, s->num_ranges * s->kv_heads);
        finish_layer(t, &task);
    }
}

/* The same for rows that are tokens of prompts. */
void prefill(const step *s, const layer *layers, int64_t num_layers) {
    forward_task task = {s, layers, num_layers};
    run_pass(&s->pool, prefill_pass, &task);
}

/* Sizes of the structs, of T and of tiles: what was compiled must be what structs.py expects. */
int64_t layout(void) {
    int64_t sizes[] = {sizeof(step), sizeof(layer), sizeof(row_group), sizeof(lora_pair)};
    int64_t digest = sizeof(T) + sizeof(row_block) + KEYS + sizeof(parameter) + UNIT_NUMBERS;
    digest += sizeof(trained_lora) + MAX_LANES;
    for (int i = 0; i < 4; i++) digest = digest * 1000 + sizes[i];
    return digest;
}
