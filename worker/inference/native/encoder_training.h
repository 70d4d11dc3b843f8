/* Further passes of a training step of BERT-shaped encoders. Weights and biases of norms, and
   gradients that are sums over rows, are in float32. `worker/training/encoders/fused_ops.py` says
   what each computes. */

typedef struct {
    const T *hidden, *delta;
    const float *weight, *bias;
    T *total, *x;
    float *mean, *inverse, eps;
    int n;
} layer_norm_task;

static void add_layer_norm_unit(const void *pass, int unit) {
    FOR_ROWS(layer_norm_task) {
        int n = t->n;
        float wide[n], sum = 0;
        const T *restrict hidden = t->hidden + row * n, *restrict delta = t->delta + row * n;
        const float *restrict weight = t->weight, *restrict bias = t->bias;
        T *restrict total = t->total + row * n, *restrict x = t->x + row * n;
        for (int i = 0; i < n; i++) total[i] = put(get(hidden[i]) + get(delta[i]));
        widen(wide, total, n);
#pragma omp simd reduction(+ : sum)
        for (int i = 0; i < n; i++) sum += wide[i];
        float mean = sum / n;
        for (int i = 0; i < n; i++) wide[i] -= mean;
        float inverse = 1 / square_root(dot(wide, wide, n) / n + t->eps);
        for (int i = 0; i < n; i++) x[i] = put(wide[i] * inverse * weight[i] + bias[i]);
        t->mean[row] = mean;
        t->inverse[row] = inverse;
    }
}

void add_layer_norm(const threads *pool, int64_t rows, int64_t n, float eps, const T *hidden,
                    const T *delta, const float *weight, const float *bias, T *total, T *x,
                    float *mean, float *inverse) {
    layer_norm_task task = {hidden, delta, weight, bias, total, x, mean, inverse, eps, n};
    run_rows(pool, add_layer_norm_unit, &task, rows, SOME_ROWS);
}

typedef struct {
    const T *grad_x, *total;
    const float *weight, *mean, *inverse;
    T *grad;
    int n;
} layer_norm_backward_task;

static void layer_norm_backward_unit(const void *pass, int unit) {
    FOR_ROWS(layer_norm_backward_task) {
        int n = t->n;
        float scaled[n], normed[n], mean = t->mean[row], inverse = t->inverse[row], sum = 0;
        const T *grad_x = t->grad_x + row * n, *total = t->total + row * n;
        T *grad = t->grad + row * n;
        for (int i = 0; i < n; i++) scaled[i] = get(grad_x[i]) * t->weight[i];
        for (int i = 0; i < n; i++) normed[i] = (get(total[i]) - mean) * inverse;
#pragma omp simd reduction(+ : sum)
        for (int i = 0; i < n; i++) sum += scaled[i];
        float shift = sum / n, slope = dot(scaled, normed, n) / n;
        for (int i = 0; i < n; i++)
            grad[i] = put(inverse * (scaled[i] - shift - normed[i] * slope));
    }
}

void layer_norm_backward(const threads *pool, int64_t rows, int64_t n, const T *grad_x,
                         const T *total, const float *weight, const float *mean,
                         const float *inverse, T *grad) {
    layer_norm_backward_task task = {grad_x, total, weight, mean, inverse, grad, n};
    run_rows(pool, layer_norm_backward_unit, &task, rows, SOME_ROWS);
}

/* Sums over rows: each unit has some columns, and adds their rows in order. */
enum { SUMMED_COLUMNS = 64 };

typedef struct {
    const T *grad, *total; /* `total` of a norm, or NULL */
    const float *mean, *inverse;
    float *sums, *weighted; /* of the gradient, and of its product with the normed input */
    int64_t rows;
    int n;
} column_task;

static void sum_columns_unit(const void *pass, int unit) {
    const column_task *t = ((const row_pass *)pass)->task;
    int first = unit * SUMMED_COLUMNS, count = t->n - first < SUMMED_COLUMNS ? t->n - first : SUMMED_COLUMNS;
    float sums[SUMMED_COLUMNS] = {0}, weighted[SUMMED_COLUMNS] = {0};
    for (int64_t row = 0; row < t->rows; row++) {
        const T *grad = t->grad + row * t->n + first;
        for (int i = 0; i < count; i++) sums[i] += get(grad[i]);
        if (!t->total) continue;
        const T *total = t->total + row * t->n + first;
        float mean = t->mean[row], inverse = t->inverse[row];
        for (int i = 0; i < count; i++)
            weighted[i] += get(grad[i]) * ((get(total[i]) - mean) * inverse);
    }
    memcpy(t->sums + first, sums, count * sizeof(float));
    if (t->total) memcpy(t->weighted + first, weighted, count * sizeof(float));
}

void sum_columns(const threads *pool, int64_t rows, int64_t n, const T *grad, float *sums) {
    column_task task = {grad, 0, 0, 0, sums, 0, rows, n};
    run_rows(pool, sum_columns_unit, &task, n, SUMMED_COLUMNS);
}

void layer_norm_weight_backward(const threads *pool, int64_t rows, int64_t n, const T *grad_x,
                                const T *total, const float *mean, const float *inverse,
                                float *grad_weight, float *grad_bias) {
    column_task task = {grad_x, total, mean, inverse, grad_bias, grad_weight, rows, n};
    run_rows(pool, sum_columns_unit, &task, n, SUMMED_COLUMNS);
}

/* Of the standard normal distribution: its density, and its cumulative probability within 1e-7
   (Abramowitz and Stegun 7.1.26, in whose terms `x` is sqrt(2) times as large). */
static inline float normal_density(float x) { return .39894228f * exponential(-.5f * x * x); }

static inline float normal_cumulative(float x, float density) {
    float size = x < 0 ? -x : x;
    float u = 1 / (1 + .231641888f * size);
    float tail = density * 2.50662827f * .5f * u
        * (.254829592f + u * (-.284496736f + u * (1.421413741f
           + u * (-1.453152027f + u * 1.061405429f))));
    return x < 0 ? tail : 1 - tail;
}

typedef struct {
    const T *x, *grad;
    T *grad_x, *out;
    int n;
} gelu_task;

static void gelu_unit(const void *pass, int unit) {
    FOR_ROWS(gelu_task) {
        const T *restrict x = t->x + row * t->n;
        T *restrict out = t->out + row * t->n;
#pragma omp simd
        for (int i = 0; i < t->n; i++) {
            float v = get(x[i]);
            out[i] = put(v * normal_cumulative(v, normal_density(v)));
        }
    }
}

void gelu(const threads *pool, int64_t rows, int64_t n, const T *x, T *out) {
    gelu_task task = {x, 0, 0, out, n};
    run_rows(pool, gelu_unit, &task, rows, FEW_ROWS);
}

static void gelu_backward_unit(const void *pass, int unit) {
    FOR_ROWS(gelu_task) {
        const T *restrict x = t->x + row * t->n, *restrict grad = t->grad + row * t->n;
        T *restrict grad_x = t->grad_x + row * t->n, *restrict out = t->out + row * t->n;
#pragma omp simd
        for (int i = 0; i < t->n; i++) {
            float v = get(x[i]), density = normal_density(v);
            float cumulative = normal_cumulative(v, density);
            out[i] = put(v * cumulative);
            grad_x[i] = put(get(grad[i]) * (cumulative + v * density));
        }
    }
}

void gelu_backward(const threads *pool, int64_t rows, int64_t n, const T *x, const T *grad,
                   T *grad_x, T *out) {
    gelu_task task = {x, grad, grad_x, out, n};
    run_rows(pool, gelu_backward_unit, &task, rows, FEW_ROWS);
}

typedef struct {
    const int64_t *lengths; /* of the texts, each of which has `rows_per_text` rows */
    const T *weights;
    T *scores;
    float scale;
    int64_t rows_per_text;
    int n;
} masked_softmax_task;

static void masked_softmax_unit(const void *pass, int unit) {
    FOR_ROWS(masked_softmax_task) {
        int n = t->n, seen = t->lengths[row / t->rows_per_text];
        float wide[n], top = -1e30f, sum = 0, scale = t->scale;
        T *restrict scores = t->scores + row * n;
        widen(wide, scores, seen);
#pragma omp simd reduction(max : top)
        for (int i = 0; i < seen; i++) top = wide[i] > top ? wide[i] : top;
#pragma omp simd
        for (int i = 0; i < seen; i++) wide[i] = exponential((wide[i] - top) * scale);
#pragma omp simd reduction(+ : sum)
        for (int i = 0; i < seen; i++) sum += wide[i];
        float share = 1 / sum;
        for (int i = 0; i < seen; i++) scores[i] = put(wide[i] * share);
        memset(scores + seen, 0, (n - seen) * sizeof(T));
    }
}

void masked_softmax(const threads *pool, int64_t rows, int64_t n, float scale, int64_t rows_per_text,
                    const int64_t *lengths, T *scores) {
    masked_softmax_task task = {lengths, 0, scores, scale, rows_per_text, n};
    run_rows(pool, masked_softmax_unit, &task, rows, SOME_ROWS);
}

static void softmax_backward_unit(const void *pass, int unit) {
    FOR_ROWS(masked_softmax_task) {
        int n = t->n;
        float weights[n], grad[n];
        T *scores = t->scores + row * n;
        widen(weights, t->weights + row * n, n);
        widen(grad, scores, n);
        float mean = dot(weights, grad, n);
        for (int i = 0; i < n; i++) scores[i] = put(t->scale * weights[i] * (grad[i] - mean));
    }
}

void softmax_backward(const threads *pool, int64_t rows, int64_t n, float scale, const T *weights,
                      T *grad) {
    masked_softmax_task task = {0, weights, grad, scale, 1, n};
    run_rows(pool, softmax_backward_unit, &task, rows, SOME_ROWS);
}
