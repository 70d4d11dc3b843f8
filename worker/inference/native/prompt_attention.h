/* Attention of rows that are tokens of a prompt, by blocks of queries and tiles of keys with a
   running softmax (FlashAttention, Dao et al. 2022).

   Tiles begin at multiples of KEYS: a row's numbers depend on its position, not on the chunk that it
   is computed in, nor on what is computed with it. */

/* As in structs.py. */
enum { KEYS = 64, QUERIES = 192 };

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
    for (int key = 0; key < KEYS; key += PER_WORD)
        for (int first = 0; first < n; first += PANEL) {
            T *words = to + first * KEYS + key * PANEL, rows[PER_WORD][PANEL] = {0};
            int size = n - first < PANEL ? n - first : PANEL;
            for (int k = 0; k < PER_WORD && key + k < count; k++)
                memcpy(rows[k], from + (int64_t)(key + k) * n + first, size * sizeof(T));
            for (int i = 0; i < PANEL; i++)
                for (int k = 0; k < PER_WORD; k++) words[i * PER_WORD + k] = rows[k][i];
        }
}

/* Turn scores of `count` keys into probabilities times e^-max; returns what sums of the tiles before
   are to be multiplied by. Inlined, it may be compiled twice, into sums of different orders. */
static __attribute__((noinline)) float soften(float *restrict scores, T *restrict p, int count,
                                              float scale, float *max, float *total) {
    float top = *max, sum = 0;
    for (int i = 0; i < KEYS; i++) scores[i] = i < count ? scores[i] * scale : -1e30f;
#pragma omp simd reduction(max : top)
    for (int i = 0; i < KEYS; i++) top = scores[i] > top ? scores[i] : top;
    float shrink = exponential(*max - top);
#pragma omp simd reduction(+ : sum)
    for (int i = 0; i < KEYS; i++) {
        scores[i] = i < count ? exponential(scores[i] - top) : 0;
        sum += scores[i];
    }
    for (int i = 0; i < KEYS; i++) p[i] = put(scores[i]);
    *total = *total * shrink + sum, *max = top;
    return shrink;
}

/* out = x · panels, all of them, or that added to it. */
static void multiply_panels(const void *panels, const T *x, float *out, int rows, int in, int width,
                            int adds) {
    matrix m = {panels, 0, in, width, 0, 0};
    product_task product = {&m, x, 0, out, rows, adds};
    for (int panel = 0; panel < count_panels(&m); panel++) panel_unit(&product, panel);
}

/* Queries [positions · group, n], the first of which are at `position`, over all keys that they see:
   sums of values [.., padded(n)], and their maximal scores and totals. */
static void attend_tiles(const T *q, int rows, int group, int position, int n, const T *keys,
                         const T *values, float *sums, float *max, float *total) {
    int width = padded(n), end = position + rows / group;
    uint32_t packed_keys[KEYS * n / PER_WORD], packed_values[KEYS * width / PER_WORD];
    float scores[rows][KEYS], out[rows][width];
    T p[rows][KEYS];
    memset(sums, 0, (int64_t)rows * width * sizeof(float));
    for (int r = 0; r < rows; r++) max[r] = -1e30f, total[r] = 0;
    for (int start = 0; start < end; start += KEYS) {
        int count = end - start < KEYS ? end - start : KEYS;
        pack_keys(packed_keys, keys + (int64_t)start * n, count, n);
        pack_values((T *)packed_values, values + (int64_t)start * n, count, n);
        /* Rows before the first key see none of them. */
        int first = start > position ? (start - position) * group : 0, left = rows - first;
        multiply_panels(packed_keys, q + (int64_t)first * n, scores[first], left, n, KEYS, 0);
        float shrinks[rows];
        for (int r = first; r < rows; r++) {
            int seen = position + r / group - start + 1;
            shrinks[r] = soften(scores[r], p[r], seen < KEYS ? seen : KEYS,
                                1 / square_root(n), &max[r], &total[r]);
        }
        multiply_panels(packed_values, p[first], out[first], left, KEYS, width, 0);
        for (int r = first; r < rows; r++)
            for (int i = 0; i < width; i++)
                sums[(int64_t)r * width + i] = sums[(int64_t)r * width + i] * shrinks[r] + out[r][i];
    }
}

/* One kv head, and the queries of a range of rows that use it. */
static void attend_prompt_unit(const void *task, int unit) {
    const layer_task *t = task;
    const step *s = t->s;
    const row_range *range = &s->ranges[unit / s->kv_heads];
    heads h = find_heads(s, t->l, range->first_row * s->kv_heads + unit % s->kv_heads);
    int n = s->head_dim, group = h.group, rows = range->count * group;
    T q[rows][n];
    float sums[rows][padded(n)], max[rows], total[rows];
    for (int r = 0; r < range->count; r++)
        memcpy(q[r * group],
               s->queries + ((int64_t)(h.row + r) * s->kv_heads + h.kv) * group * n,
               group * n * sizeof(T));
    attend_tiles(q[0], rows, group, h.position, n, h.keys, h.values, sums[0], max, total);
    for (int r = 0; r < rows; r++) {
        T *to = s->attended + (int64_t)(h.row + r / group) * t->l->o.in
                + (h.kv * group + r % group) * n;
        for (int i = 0; i < n; i++) to[i] = put(sums[r][i] / total[r]);
    }
}
