/* RoPE, the cache, and attention of rows that are sequences' new tokens. */

enum { TILE = 64 };

static inline void normalize_and_rotate(const step *s, const float *from, const T *norm,
                                        int position, float *out) {
    int n = s->head_dim, half = n / 2;
    float x[n];
    memcpy(x, from, n * sizeof(float));
    if (norm) rms_norm(x, norm, n, s->eps, x);
    const float *cos = s->cos + (int64_t)position * n, *sin = s->sin + (int64_t)position * n;
    for (int i = 0; i < half; i++) out[i] = x[i] * cos[i] + x[i + half] * sin[i];
    for (int i = half; i < n; i++) out[i] = x[i] * cos[i] + x[i - half] * sin[i];
}

/* The heads of one row and kv head: of a unit's number, and their products in `s->out`. */
typedef struct {
    int row, kv, group, position;
    const float *in;
    T *keys, *values;
} heads;

static inline heads find_heads(const step *s, const layer *l, int unit) {
    int row = unit / s->kv_heads, kv = unit % s->kv_heads;
    int64_t offset = s->slots[row] * s->slot_stride + kv * s->kv_head_stride;
    return (heads){
        row, kv, s->heads / s->kv_heads, s->positions[row],
        s->out + (int64_t)row * l->qkv.out, l->keys + offset, l->values + offset,
    };
}

/* Write the new key and value to the cache, and q of each head in the group to `q`. */
static inline void rotate(const step *s, const layer *l, const heads *h, int n, float *q) {
    float key[n];
    const float *value = h->in + (s->heads + s->kv_heads + h->kv) * n;
    int64_t place = (int64_t)h->position * n;
    normalize_and_rotate(s, h->in + (s->heads + h->kv) * n, l->k_norm, h->position, key);
    for (int i = 0; i < n; i++) h->keys[place + i] = put(key[i]);
    for (int i = 0; i < n; i++) h->values[place + i] = put(value[i]);
    for (int g = 0; g < h->group; g++)
        normalize_and_rotate(s, h->in + (h->kv * h->group + g) * n, l->q_norm, h->position,
                             q + g * n);
}

/* Attention by tiles with a running softmax. `n` is the head's size, a constant where this is
   inlined. */
INLINE void attend(const step *s, const layer *l, int unit, const int n) {
    heads h = find_heads(s, l, unit);
    int length = h.position + 1, group = h.group;
    float q[group][n], sums[group][n], max[group], total[group];
    rotate(s, l, &h, n, q[0]);
    float scale = 1 / square_root(n);
    for (int g = 0; g < group; g++) {
        for (int i = 0; i < n; i++) q[g][i] *= scale, sums[g][i] = 0;
        max[g] = -1e30f, total[g] = 0;
    }
    for (int start = 0; start < length; start += TILE) {
        int count = length - start < TILE ? length - start : TILE;
        float p[group][TILE], wide[n];
        for (int t = 0; t < count; t++) {
            widen(wide, h.keys + (int64_t)(start + t) * n, n);
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
            widen(wide, h.values + (int64_t)(start + t) * n, n);
            for (int g = 0; g < group; g++)
                for (int i = 0; i < n; i++) sums[g][i] += p[g][t] * wide[i];
        }
    }
    T *out = s->attended + (int64_t)h.row * l->o.in + h.kv * group * n;
    for (int g = 0; g < group; g++)
        for (int i = 0; i < n; i++) out[g * n + i] = put(sums[g][i] / total[g]);
}

static void attend_row(const layer_task *t, int unit) {
    if (t->s->head_dim == 64) attend(t->s, t->l, unit, 64);
    else if (t->s->head_dim == 128) attend(t->s, t->l, unit, 128);
    else attend(t->s, t->l, unit, t->s->head_dim);
}

static inline int follows(const step *s, int row) {
    return row > 0 && row < s->rows && s->slots[row] == s->slots[row - 1];
}

/* Rows that follow each other in a slot see what those before them write: they are one unit. */
static void attend_unit(const void *task, int unit) {
    const layer_task *t = task;
    const step *s = t->s;
    int row = unit / s->kv_heads, kv = unit % s->kv_heads;
    if (follows(s, row)) return;
    do attend_row(t, row++ * s->kv_heads + kv);
    while (follows(s, row));
}

