/* Causal attention of whole rows for training: forward pass, and backward pass that computes the
   probabilities again from each query's log-sum-exp (FlashAttention, Dao et al. 2022, algorithm 4).

   In the backward pass a unit is one kv head of one row, so that sums have a fixed order. */

typedef struct {
    const T *q, *k, *v;       /* [rows, heads, length, n], [rows, kv heads, length, n] */
    T *out;                   /* as q */
    float *lse;               /* [rows, heads, length] */
    const T *grad;            /* of `out` */
    T *grad_q, *grad_k, *grad_v;
    float *sums;              /* [rows, kv heads, 3, padded length, padded n] */
    int length, group, n, span; /* heads of a kv head; positions of a unit in the forward pass */
} attention_task;

static void attend_row_unit(const void *task, int unit) {
    const attention_task *t = task;
    int n = t->n, group = t->group, length = t->length, blocks = (length + t->span - 1) / t->span;
    int64_t kv_head = unit / blocks, head = kv_head * group;
    int first = unit % blocks * t->span;
    int count = length - first < t->span ? length - first : t->span, rows = count * group;
    T q[rows][n];
    float sums[rows][padded(n)], max[rows], total[rows];
    for (int r = 0; r < rows; r++)
        memcpy(q[r], t->q + ((head + r % group) * length + first + r / group) * n, n * sizeof(T));
    attend_tiles(q[0], rows, group, first, n, t->k + kv_head * length * n,
                 t->v + kv_head * length * n, sums[0], max, total);
    for (int r = 0; r < rows; r++) {
        int64_t place = (head + r % group) * length + first + r / group;
        for (int i = 0; i < n; i++) t->out[place * n + i] = put(sums[r][i] / total[r]);
        t->lse[place] = max[r] + __builtin_logf(total[r]);
    }
}

typedef struct {
    const attention_task *t;
    int64_t kv_heads; /* of all rows */
} attention_pass;

static void attend_rows_pass(team *t, const void *pass) {
    const attention_pass *p = pass;
    int blocks = (p->t->length + p->t->span - 1) / p->t->span;
    run_units(t, attend_row_unit, p->t, p->kv_heads * blocks);
}

void attend_rows(const threads *pool, int64_t kv_heads, int64_t length, int64_t group,
                 int64_t n, const T *q, const T *k, const T *v, T *out, float *lse) {
    int span = QUERIES / group;
    attention_task task = {q, k, v, out, lse, .length = length, .group = group, .n = n,
                           .span = span ? span : 1};
    attention_pass pass = {&task, kv_heads};
    run_pass(pool, attend_rows_pass, &pass);
}

/* A tile of queries of one head, packed as weights of products over n and over the queries. */
typedef struct {
    uint32_t *q_by_n, *grad_by_n;
    T *q_by_row, *grad_by_row;
    float lse[KEYS], delta[KEYS]; /* delta: the sum of probabilities times their gradients */
    int first, count;
} query_tile;

static void pack_queries(const attention_task *t, int64_t place, query_tile *tile) {
    int n = t->n;
    const T *q = t->q + place * n, *grad = t->grad + place * n, *out = t->out + place * n;
    pack_keys(tile->q_by_n, q, tile->count, n);
    pack_keys(tile->grad_by_n, grad, tile->count, n);
    pack_values(tile->q_by_row, q, tile->count, n);
    pack_values(tile->grad_by_row, grad, tile->count, n);
    for (int c = 0; c < KEYS; c++) {
        tile->lse[c] = 1e30f, tile->delta[c] = 0; /* missing queries have no gradient */
        if (c >= tile->count) continue;
        float a[n], b[n];
        widen(a, grad + c * n, n);
        widen(b, out + c * n, n);
        tile->lse[c] = t->lse[place + c], tile->delta[c] = dot(a, b, n);
    }
}

/* Of a tile of keys and one of queries: probabilities, and gradients of scores, [keys, queries]. */
static void differentiate(const query_tile *tile, int first_key, int count, float scale,
                          const float *restrict scores, const float *restrict upstream,
                          T *restrict p, T *restrict grad) {
    for (int key = 0; key < count; key++) {
        int first = first_key + key - tile->first; /* the first query that sees the key */
        const float *s = scores + key * KEYS, *u = upstream + key * KEYS;
        T *to = p + key * KEYS, *to_grad = grad + key * KEYS;
#pragma omp simd
        for (int c = 0; c < KEYS; c++) {
            float share = c < first ? 0 : exponential(s[c] * scale - tile->lse[c]);
            to[c] = put(share);
            to_grad[c] = put(share * (u[c] - tile->delta[c]) * scale);
        }
    }
}

/* [count, n] -> [n, KEYS], with zeros for what is not there. */
static void transpose(T *restrict to, const T *restrict from, int count, int n) {
    memset(to, 0, (int64_t)n * KEYS * sizeof(T));
    for (int row = 0; row < count; row++)
        for (int i = 0; i < n; i++) to[i * KEYS + row] = from[row * n + i];
}

static void attend_row_backward_unit(const void *task, int unit) {
    const attention_task *t = task;
    int n = t->n, width = padded(n), length = t->length, tiles = (length + KEYS - 1) / KEYS;
    int64_t row = (int64_t)unit * length * n, sums_size = (int64_t)tiles * KEYS * width;
    const T *k = t->k + row, *v = t->v + row;
    float *sums_k = t->sums + (int64_t)unit * 3 * sums_size, *sums_v = sums_k + sums_size;
    T *by_n = (T *)(sums_v + sums_size); /* the keys of each tile, [n, KEYS] */
    uint32_t packed[4][KEYS * width / PER_WORD], packed_grad[KEYS * KEYS / PER_WORD];
    query_tile tile = {packed[0], packed[1], (T *)packed[2], (T *)packed[3]};
    float scores[KEYS][KEYS], upstream[KEYS][KEYS], grad_q[n][KEYS], scale = 1 / square_root(n);
    T p[KEYS][KEYS], grad[KEYS][KEYS], grad_q_by_n[KEYS];
    memset(sums_k, 0, 2 * sums_size * sizeof(float));
    for (int first = 0; first < length; first += KEYS)
        transpose(by_n + first * n, k + first * n, length - first < KEYS ? length - first : KEYS, n);
    for (int g = 0; g < t->group; g++)
        for (tile.first = 0; tile.first < length; tile.first += KEYS) {
            int64_t place = ((int64_t)unit * t->group + g) * length + tile.first;
            tile.count = length - tile.first < KEYS ? length - tile.first : KEYS;
            pack_queries(t, place, &tile);
            for (int first = 0; first <= tile.first; first += KEYS) {
                int count = length - first < KEYS ? length - first : KEYS;
                multiply_panels(tile.q_by_n, k + first * n, scores[0], count, n, KEYS, 0);
                multiply_panels(tile.grad_by_n, v + first * n, upstream[0], count, n, KEYS, 0);
                differentiate(&tile, first, count, scale, scores[0], upstream[0], p[0], grad[0]);
                multiply_panels(tile.grad_by_row, p[0], sums_v + first * width, count, KEYS,
                                width, 1);
                multiply_panels(tile.q_by_row, grad[0], sums_k + first * width, count, KEYS,
                                width, 1);
                pack_values((T *)packed_grad, grad[0], count, KEYS);
                multiply_panels(packed_grad, by_n + first * n, grad_q[0], n, KEYS, KEYS, first > 0);
            }
            for (int i = 0; i < n; i++) {
                for (int c = 0; c < KEYS; c++) grad_q_by_n[c] = put(grad_q[i][c]);
                for (int c = 0; c < tile.count; c++) t->grad_q[(place + c) * n + i] = grad_q_by_n[c];
            }
        }
    for (int i = 0; i < length; i++)
        for (int j = 0; j < n; j++) {
            t->grad_k[row + i * n + j] = put(sums_k[i * width + j]);
            t->grad_v[row + i * n + j] = put(sums_v[i * width + j]);
        }
}

static void attend_rows_backward_pass(team *t, const void *pass) {
    const attention_pass *p = pass;
    run_units(t, attend_row_backward_unit, p->t, p->kv_heads);
}

void attend_rows_backward(const threads *pool, int64_t kv_heads, int64_t length, int64_t group,
                          int64_t n, const T *q, const T *k, const T *v, T *out, float *lse, const T *grad,
                          T *grad_q, T *grad_k, T *grad_v, float *sums) {
    attention_task task = {q, k, v, out, lse, grad, grad_q, grad_k, grad_v, sums,
                           .length = length, .group = group, .n = n};
    attention_pass pass = {&task, kv_heads};
    run_pass(pool, attend_rows_backward_pass, &pass);
}
