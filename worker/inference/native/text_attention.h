/* Attention within the short texts of a stream of tokens, each of which sees all tokens of its text.
   Queries, keys and values are read where a product has written them, [tokens, 3, heads, n], and
   scores are computed again for the gradient: nothing is gathered or kept. A unit is one head of one
   text, in float32, all of it in a core's cache. */

/* Columns of a tile of a product, to whose multiples sizes are padded, and its rows. */
enum { TEXT_STEP = 16, TEXT_ROWS = LANES == 16 ? 8 : LANES == 8 ? 4 : 2 };
enum { TEXT_VECTORS = TEXT_STEP / LANES };

static inline int pad_text(int size) { return (size + TEXT_STEP - 1) / TEXT_STEP * TEXT_STEP; }

/* out [rows, columns] = a · b [inner, columns]; rows of `a` are `row_step` apart, their numbers
   `step`. Memory has rows up to a multiple of TEXT_ROWS, columns are a multiple of TEXT_STEP. */
static void multiply_short(const float *a, int row_step, int step, const float *b, float *out,
                           int rows, int inner, int columns) {
    for (int row = 0; row < rows; row += TEXT_ROWS)
        for (int column = 0; column < columns; column += TEXT_STEP) {
            const float *x = a + row * row_step, *w = b + column;
            floats sums[TEXT_ROWS][TEXT_VECTORS] = {0};
            for (int i = 0; i < inner; i++, x += step, w += columns) {
                floats loaded[TEXT_VECTORS];
                memcpy(loaded, w, sizeof loaded);
                UNROLL for (int r = 0; r < TEXT_ROWS; r++)
                    UNROLL for (int v = 0; v < TEXT_VECTORS; v++)
                        sums[r][v] += loaded[v] * x[r * row_step];
            }
            UNROLL for (int r = 0; r < TEXT_ROWS; r++)
                memcpy(out + (row + r) * columns + column, sums[r], sizeof sums[r]);
        }
}

typedef struct {
    const int64_t *bounds; /* of the texts: [texts + 1], from 0 */
    const T *qkv, *grad;   /* `grad` of the output [tokens, heads, n] */
    T *out;                /* the output, or the gradient of qkv */
    int heads, n;
} text_task;

/* One head of one text, and its padded sizes. */
typedef struct {
    int64_t first; /* token */
    int head, length, keys, width;
} text_head;

static text_head find_text_head(const text_task *t, int unit) {
    int64_t first = t->bounds[unit / t->heads];
    int length = t->bounds[unit / t->heads + 1] - first;
    return (text_head){first, unit % t->heads, length, pad_text(length), pad_text(t->n)};
}

/* Widen the head's part of rows that are `stride` apart: [keys, width], with zeros. */
static void load_head(const text_head *h, int n, const T *from, int64_t stride, float *to) {
    memset(to, 0, h->keys * h->width * sizeof(float));
    for (int i = 0; i < h->length; i++) widen(to + i * h->width, from + i * stride, n);
}

/* [keys, width] -> [width, keys] */
static void transpose_head(const text_head *h, const float *restrict from, float *restrict to) {
    for (int i = 0; i < h->width; i++)
        for (int key = 0; key < h->keys; key++) to[i * h->keys + key] = from[key * h->width + i];
}

static void store_head(const text_head *h, int n, const float *from, T *to, int64_t stride) {
    for (int i = 0; i < h->length; i++)
        for (int j = 0; j < n; j++) to[i * stride + j] = put(from[i * h->width + j]);
}

/* Attention weights [keys, keys] of queries and transposed keys; zeros beyond the text. */
static void weigh_keys(const text_head *h, int n, const float *q, const float *by_n, float *weights) {
    float scale = 1 / square_root(n);
    multiply_short(q, h->width, 1, by_n, weights, h->length, n, h->keys);
    for (int i = 0; i < h->length; i++) {
        float *row = weights + i * h->keys, top = -1e30f, sum = 0;
#pragma omp simd reduction(max : top)
        for (int key = 0; key < h->length; key++) top = row[key] > top ? row[key] : top;
#pragma omp simd reduction(+ : sum)
        for (int key = 0; key < h->keys; key++) {
            row[key] = key < h->length ? exponential((row[key] - top) * scale) : 0;
            sum += row[key];
        }
        float share = 1 / sum;
        for (int key = 0; key < h->keys; key++) row[key] *= share;
    }
}

static void attend_text_unit(const void *pass, int unit) {
    const text_task *t = ((const row_pass *)pass)->task;
    text_head h = find_text_head(t, unit);
    int n = t->n, size = h.keys * h.width;
    int64_t width = (int64_t)t->heads * n, stride = 3 * width;
    const T *q_rows = t->qkv + h.first * stride + h.head * n;
    float q[size], k[size], v[size], by_n[size], weights[h.keys * h.keys];
    load_head(&h, n, q_rows, stride, q);
    load_head(&h, n, q_rows + width, stride, k);
    load_head(&h, n, q_rows + 2 * width, stride, v);
    transpose_head(&h, k, by_n);
    weigh_keys(&h, n, q, by_n, weights);
    multiply_short(weights, h.keys, 1, v, q, h.length, h.length, h.width);
    store_head(&h, n, q, t->out + h.first * width + h.head * n, width);
}

void attend_texts(const threads *pool, int64_t texts, int64_t heads, int64_t n,
                  const int64_t *bounds, const T *qkv, T *out) {
    text_task task = {bounds, qkv, 0, out, heads, n};
    run_rows(pool, attend_text_unit, &task, texts * heads, FEW_ROWS);
}

/* dv = weightsᵀ · grad; scores' gradient = weights · (grad · vᵀ - its mean by the weights) · scale;
   dq and dk are its products with k and q. */
static void attend_text_backward_unit(const void *pass, int unit) {
    const text_task *t = ((const row_pass *)pass)->task;
    text_head h = find_text_head(t, unit);
    int n = t->n, keys = h.keys, size = keys * h.width;
    int64_t width = (int64_t)t->heads * n, stride = 3 * width, place = h.first * stride + h.head * n;
    float q[size], k[size], v[size], grad[size], by_n[size], out[size];
    float weights[keys * keys], scores[keys * keys], scale = 1 / square_root(n);
    load_head(&h, n, t->qkv + place, stride, q);
    load_head(&h, n, t->qkv + place + width, stride, k);
    load_head(&h, n, t->qkv + place + 2 * width, stride, v);
    load_head(&h, n, t->grad + h.first * width + h.head * n, width, grad);
    transpose_head(&h, k, by_n);
    weigh_keys(&h, n, q, by_n, weights);
    multiply_short(weights, 1, keys, grad, out, h.length, h.length, h.width);
    store_head(&h, n, out, t->out + place + 2 * width, stride);
    transpose_head(&h, v, by_n);
    multiply_short(grad, h.width, 1, by_n, scores, h.length, n, keys);
    for (int i = 0; i < h.length; i++) {
        float *row = scores + i * keys, *weight = weights + i * keys;
        float mean = dot(weight, row, keys);
        for (int key = 0; key < keys; key++) row[key] = weight[key] * (row[key] - mean) * scale;
    }
    multiply_short(scores, keys, 1, k, out, h.length, h.length, h.width);
    store_head(&h, n, out, t->out + place, stride);
    multiply_short(scores, 1, keys, q, out, h.length, h.length, h.width);
    store_head(&h, n, out, t->out + place + width, stride);
}

void attend_texts_backward(const threads *pool, int64_t texts, int64_t heads, int64_t n,
                           const int64_t *bounds, const T *qkv, const T *grad, T *grad_qkv) {
    text_task task = {bounds, qkv, grad, grad_qkv, heads, n};
    run_rows(pool, attend_text_backward_unit, &task, texts * heads, FEW_ROWS);
}
