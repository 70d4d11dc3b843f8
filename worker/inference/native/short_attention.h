/* Causal attention of short rows for training, by products, whose weights are kept for the backward
   pass. A unit is one kv head of one row. Queries are computed in blocks, whose later keys are left
   out. */

/* Weights of a query are padded to a multiple of MAX_LANES, with zeros. */
enum { BLOCK_QUERIES = 48 };

typedef struct {
    const T *q, *k, *v, *grad; /* [rows, heads, length, n]; k, v: [rows, kv heads, length, n] */
    T *out, *weights;          /* as q; [rows, heads, length, keys] */
    T *grad_q, *grad_k, *grad_v;
    int length, keys, group, n; /* heads of a kv head */
} short_task;

typedef struct {
    const short_task *t;
    int kv_heads; /* of all rows */
    unit_function run;
} short_pass;

/* Words of a kv head's keys or values: by their numbers [n / PER_WORD, keys], with zeros beyond the row,
   or [keys / PER_WORD, n]. */
static void pack_by_n(const short_task *t, const T *from, uint32_t *to) {
    memset(to, 0, (int64_t)t->n / PER_WORD * t->keys * 4);
    transpose_words(to, t->keys, from, t->n, t->length, 0, t->n);
}

static void pack_by_key(const short_task *t, const T *from, uint32_t *to) {
    pair_rows(to, t->n, from, t->n, t->length, t->n);
}

/* out [rows, keys] = x [rows, n] · kᵀ of a block of queries, whose last one sees `seen` keys. */
static void multiply_keys(const short_task *t, const T *x, const uint32_t *by_n, T *out, int rows,
                          int seen) {
    project_rows(x, t->n, by_n, t->keys, t->n, out, t->keys, whole_vectors(seen), 1, rows);
}

/* out [rows, n] = x [rows, keys] · v */
static void sum_keys(const short_task *t, const T *x, const uint32_t *by_key, T *out, int rows,
                     int seen) {
    project_rows(x, t->keys, by_key, t->n, whole_words(seen), out, t->n, t->n, 1, rows);
}

static void attend_short_unit(const void *task, int unit) {
    const short_task *t = task;
    int n = t->n, keys = t->keys, length = t->length;
    float scale = 1 / square_root(n);
    uint32_t k_by_n[n / PER_WORD * keys], v_by_key[keys / PER_WORD * n];
    pack_by_n(t, t->k + (int64_t)unit * length * n, k_by_n);
    pack_by_key(t, t->v + (int64_t)unit * length * n, v_by_key);
    for (int g = 0; g < t->group; g++)
        for (int first = 0, rows; first < length; first += rows) {
            rows = at_most(length - first, BLOCK_QUERIES);
            int64_t query = ((int64_t)unit * t->group + g) * length + first;
            T *weights = t->weights + query * keys;
            multiply_keys(t, t->q + query * n, k_by_n, weights, rows, first + rows);
            for (int r = 0; r < rows; r++)
                soften_row(weights + r * keys, first + r + 1, keys, scale);
            sum_keys(t, weights, v_by_key, t->out + query * n, rows, first + rows);
        }
}

/* Add the products of numbers x [length, n] of each query with its weights, given as `pairs` of
   queries, to sums [keys, n]. */
static void add_queries(const short_task *t, const T *x, const uint32_t *pairs, float *sums) {
    int n = t->n, keys = t->keys;
    for (int column = 0; column < n; column += LANES)
        /* Queries before a key do not see it. */
        for (int key = 0; key < keys; key += SUMMED_RANKS) {
            floats added[SUMMED_RANKS], sum;
            sum_rows_tile(x + (int64_t)key * n + column, n, t->length - key,
                          pairs + (int64_t)key / PER_WORD * keys + key, keys, added, SUMMED_RANKS);
            for (int i = 0; i < SUMMED_RANKS; i++) {
                float *to = sums + (int64_t)(key + i) * n + column;
                memcpy(&sum, to, sizeof sum);
                sum += added[i];
                memcpy(to, &sum, sizeof sum);
            }
        }
}

static void attend_short_backward_unit(const void *task, int unit) {
    const short_task *t = task;
    int n = t->n, keys = t->keys, length = t->length;
    int64_t place = (int64_t)unit * length * n;
    float scale = 1 / square_root(n), sums_k[keys * n], sums_v[keys * n];
    uint32_t k_by_key[keys / PER_WORD * n], v_by_n[n / PER_WORD * keys];
    uint32_t pairs[keys / PER_WORD * keys];
    T scores[length * keys];
    memset(sums_k, 0, sizeof sums_k);
    memset(sums_v, 0, sizeof sums_v);
    pack_by_key(t, t->k + place, k_by_key);
    pack_by_n(t, t->v + place, v_by_n);
    for (int g = 0; g < t->group; g++) {
        int64_t head = ((int64_t)unit * t->group + g) * length;
        const T *weights = t->weights + head * keys, *grad = t->grad + head * n;
        for (int first = 0, rows; first < length; first += rows) {
            rows = at_most(length - first, BLOCK_QUERIES);
            T *to = scores + first * keys;
            multiply_keys(t, grad + first * n, v_by_n, to, rows, first + rows);
            for (int r = 0; r < rows; r++)
                soften_row_backward(weights + (first + r) * keys, to + r * keys, first + r + 1, keys,
                                    scale);
            sum_keys(t, to, k_by_key, t->grad_q + (head + first) * n, rows, first + rows);
        }
        pair_rows(pairs, keys, weights, keys, length, keys);
        add_queries(t, grad, pairs, sums_v);
        pair_rows(pairs, keys, scores, keys, length, keys);
        add_queries(t, t->q + head * n, pairs, sums_k);
    }
    T *restrict grad_k = t->grad_k + place, *restrict grad_v = t->grad_v + place;
    for (int i = 0; i < length * n; i++) grad_k[i] = put(sums_k[i]);
    for (int i = 0; i < length * n; i++) grad_v[i] = put(sums_v[i]);
}

static void short_pass_run(team *team, const void *pass) {
    const short_pass *p = pass;
    run_units(team, p->run, p->t, p->kv_heads);
}

static int pad_keys(int length) { return units_of(length, MAX_LANES) * MAX_LANES; }

void attend_short(const threads *pool, int64_t kv_heads, int64_t length, int64_t group, int64_t n,
                  const T *q, const T *k, const T *v, T *out, T *weights) {
    short_task task = {.q = q, .k = k, .v = v, .out = out, .weights = weights, .length = length,
                       .keys = pad_keys(length), .group = group, .n = n};
    short_pass pass = {&task, kv_heads, attend_short_unit};
    run_pass(pool, short_pass_run, &pass);
}

void attend_short_backward(const threads *pool, int64_t kv_heads, int64_t length, int64_t group,
                           int64_t n, const T *q, const T *k, const T *v, const T *weights,
                           const T *grad, T *grad_q, T *grad_k, T *grad_v) {
    short_task task = {q, k, v, grad, 0, (T *)weights, grad_q, grad_k, grad_v, length,
                       pad_keys(length), group, n};
    short_pass pass = {&task, kv_heads, attend_short_backward_unit};
    run_pass(pool, short_pass_run, &pass);
}
