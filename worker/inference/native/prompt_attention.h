/* Attention of rows that are tokens of a prompt, by blocks of queries and tiles of keys with a
   running softmax (FlashAttention, Dao et al. 2022).

   Tiles begin at multiples of KEYS: a row's numbers depend on its position, not on the chunk that it
   is computed in, nor on what is computed with it. */

enum { KEYS = 64 };

/* Queries go to `s->queries`, keys and values to the cache. */
static void rotate_unit(const void *task, int unit) {
    const layer_task *t = task;
    const step *s = t->s;
    heads h = find_heads(s, t->l, unit);
    int size = h.group * s->head_dim;
    float q[size];
    rotate(s, t->l, &h, s->head_dim, q);
    T *out = s->queries + ((int64_t)h.row * s->kv_heads + h.kv) * size;
    for (int i = 0; i < size; i++) out[i] = put(q[i]);
}

/* Pack `count` keys, and zeros after them, as the weights of a product with queries. */
static void pack_keys(uint32_t *restrict to, const T *restrict from, int count, int n) {
    int words = n / PER_WORD;
    const uint32_t *rows = (const uint32_t *)from;
    for (int key = 0; key < KEYS; key++) {
        uint32_t *panel = to + key / PANEL * words * PANEL + key % PANEL;
        for (int i = 0; i < words; i++)
            panel[i * PANEL] = key < count ? rows[(int64_t)key * words + i] : 0;
    }
}

/* Pack `count` values, and zeros after them, as the weights of a product with probabilities. */
static void pack_values(T *restrict to, const T *restrict from, int count, int n) {
    memset(to, 0, KEYS * padded(n) * sizeof(T));
    for (int key = 0; key < count; key++) {
        T *word = to + key / PER_WORD * PANEL * PER_WORD + key % PER_WORD;
        for (int i = 0; i < n; i++)
            word[i / PANEL * KEYS * PANEL + i % PANEL * PER_WORD] = from[(int64_t)key * n + i];
    }
}

/* Turn scores of `count` keys into probabilities times e^-max; returns what sums of the tiles before
   are to be multiplied by. Inlined, it may be compiled twice, into sums of different orders. */
static __attribute__((noinline)) float soften(float *restrict scores, T *restrict p, int count,
                                              float scale, float *max, float *total) {
    float top = *max, sum = 0;
    for (int i = 0; i < count; i++) {
        scores[i] *= scale;
        top = scores[i] > top ? scores[i] : top;
    }
    float shrink = exponential(*max - top);
    for (int i = 0; i < count; i++) scores[i] = exponential(scores[i] - top);
#pragma omp simd reduction(+ : sum)
    for (int i = 0; i < count; i++) sum += scores[i];
    for (int i = 0; i < count; i++) p[i] = put(scores[i]);
    for (int i = count; i < KEYS; i++) p[i] = 0;
    *total = *total * shrink + sum, *max = top;
    return shrink;
}

/* out = x · panels, all of them. */
static void multiply_panels(const void *panels, const T *x, float *out, int rows, int in, int width) {
    matrix m = {panels, 0, in, width, 0, 0};
    product_task product = {&m, x, 0, out, rows};
    for (int panel = 0; panel < count_panels(&m); panel++) panel_unit(&product, panel);
}

/* One kv head, and the queries of a range of rows that use it. */
static void attend_prompt_unit(const void *task, int unit) {
    const layer_task *t = task;
    const step *s = t->s;
    const row_range *range = &s->ranges[unit / s->kv_heads];
    heads h = find_heads(s, t->l, range->first_row * s->kv_heads + unit % s->kv_heads);
    int n = s->head_dim, width = padded(n), group = h.group, rows = range->count * group;
    int end = h.position + range->count;
    T q[rows][n], p[rows][KEYS];
    float scores[rows][KEYS], out[rows][width], sums[rows][width], max[rows], total[rows];
    uint32_t keys[KEYS * n / PER_WORD], values[KEYS * width / PER_WORD];
    for (int r = 0; r < range->count; r++)
        memcpy(q[r * group],
               s->queries + ((int64_t)(h.row + r) * s->kv_heads + h.kv) * group * n,
               group * n * sizeof(T));
    memset(sums, 0, sizeof sums);
    for (int r = 0; r < rows; r++) max[r] = -1e30f, total[r] = 0;
    for (int start = 0; start < end; start += KEYS) {
        int count = end - start < KEYS ? end - start : KEYS;
        pack_keys(keys, h.keys + (int64_t)start * n, count, n);
        pack_values((T *)values, h.values + (int64_t)start * n, count, n);
        /* Rows before the first key see none of them. */
        int first = start > h.position ? (start - h.position) * group : 0, left = rows - first;
        multiply_panels(keys, q[first], scores[first], left, n, KEYS);
        float shrinks[rows];
        for (int r = first; r < rows; r++) {
            int seen = h.position + r / group - start + 1;
            shrinks[r] = soften(scores[r], p[r], seen < KEYS ? seen : KEYS,
                                1 / square_root(n), &max[r], &total[r]);
        }
        multiply_panels(values, p[first], out[first], left, KEYS, width);
        for (int r = first; r < rows; r++)
            for (int i = 0; i < width; i++) sums[r][i] = sums[r][i] * shrinks[r] + out[r][i];
    }
    for (int r = 0; r < rows; r++) {
        T *to = s->attended + (int64_t)(h.row + r / group) * t->l->o.in
                + (h.kv * group + r % group) * n;
        for (int i = 0; i < n; i++) to[i] = put(sums[r][i] / total[r]);
    }
}
