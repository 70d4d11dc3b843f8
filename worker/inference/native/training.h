/* Passes of a training step between its products: each reads its operands once, row by row, in
   float32. A row's numbers depend on nothing else, and so not on the number of threads.
   `worker/training/fused_ops.py` says what each computes. */

typedef struct {
    unit_function run;
    const void *task;
    int64_t rows;
    int rows_per_unit;
} row_pass;

static void row_pass_run(team *t, const void *pass) {
    const row_pass *p = pass;
    run_units(t, p->run, p, (p->rows + p->rows_per_unit - 1) / p->rows_per_unit);
}

static void run_rows(const threads *pool, unit_function run, const void *task, int64_t rows,
                     int rows_per_unit) {
    row_pass pass = {run, task, rows, rows_per_unit};
    run_pass(pool, row_pass_run, &pass);
}

enum { FEW_ROWS = 1, SOME_ROWS = 8, MANY_ROWS = 64 };

/* The rows of a unit; `pass` is a row_pass whose task is of the given type. */
#define FOR_ROWS(type) \
    const row_pass *p = pass; \
    const type *t = p->task; \
    int64_t first = (int64_t)unit * p->rows_per_unit, end = first + p->rows_per_unit; \
    for (int64_t row = first; row < end && row < p->rows; row++)

typedef struct {
    const T *hidden, *delta, *weight;
    T *total, *x;
    float *inverse, eps;
    int n;
} norm_task;

static void add_norm_unit(const void *pass, int unit) {
    FOR_ROWS(norm_task) {
        int n = t->n;
        float wide[n];
        const T *hidden = t->hidden + row * n, *restrict weight = t->weight;
        if (t->delta) {
            const T *restrict delta = t->delta + row * n;
            T *restrict total = t->total + row * n;
            for (int i = 0; i < n; i++) total[i] = put(get(hidden[i]) + get(delta[i]));
            hidden = total;
        }
        widen(wide, hidden, n);
        float inverse = 1 / square_root(dot(wide, wide, n) / n + t->eps);
        T *restrict x = t->x + row * n;
        for (int i = 0; i < n; i++) x[i] = put(wide[i] * inverse * get(weight[i]));
        t->inverse[row] = inverse;
    }
}

void add_norm(const threads *pool, int64_t rows, int64_t n, float eps, const T *hidden,
              const T *delta, const T *weight, T *total, T *x, float *inverse) {
    norm_task task = {hidden, delta, weight, total, x, inverse, eps, n};
    run_rows(pool, add_norm_unit, &task, rows, SOME_ROWS);
}

typedef struct {
    const T *grad_x, *total, *weight;
    const float *inverse;
    T *grad;
    int n;
} norm_backward_task;

static void norm_backward_unit(const void *pass, int unit) {
    FOR_ROWS(norm_backward_task) {
        int n = t->n;
        float scaled[n], normed[n], inverse = t->inverse[row];
        const T *restrict grad_x = t->grad_x + row * n, *restrict total = t->total + row * n;
        const T *restrict weight = t->weight;
        T *restrict grad = t->grad + row * n;
        for (int i = 0; i < n; i++) scaled[i] = get(grad_x[i]) * get(weight[i]);
        for (int i = 0; i < n; i++) normed[i] = get(total[i]) * inverse;
        float mean = dot(scaled, normed, n) / n;
        for (int i = 0; i < n; i++)
            grad[i] = put(get(grad[i]) + inverse * (scaled[i] - normed[i] * mean));
    }
}

void norm_backward(const threads *pool, int64_t rows, int64_t n, const T *grad_x, const T *total,
                   const T *weight, const float *inverse, T *grad) {
    norm_backward_task task = {grad_x, total, weight, inverse, grad, n};
    run_rows(pool, norm_backward_unit, &task, rows, SOME_ROWS);
}

typedef struct {
    const T *gate_up, *grad;
    T *grad_gate_up, *out;
    int n;
} swiglu_task;

static void swiglu_unit(const void *pass, int unit) {
    FOR_ROWS(swiglu_task) {
        int n = t->n;
        const T *gate = t->gate_up + row * 2 * n, *up = gate + n;
        T *out = t->out + row * n;
#pragma omp simd
        for (int i = 0; i < n; i++) {
            float g = get(gate[i]);
            out[i] = put(g / (1 + exponential(-g)) * get(up[i]));
        }
    }
}

void swiglu(const threads *pool, int64_t rows, int64_t n, const T *gate_up, T *out) {
    swiglu_task task = {gate_up, 0, 0, out, n};
    run_rows(pool, swiglu_unit, &task, rows, FEW_ROWS);
}

static void swiglu_backward_unit(const void *pass, int unit) {
    FOR_ROWS(swiglu_task) {
        int n = t->n;
        const T *restrict gate = t->gate_up + row * 2 * n, *restrict up = gate + n;
        const T *restrict grad = t->grad + row * n;
        T *restrict grad_gate = t->grad_gate_up + row * 2 * n, *restrict grad_up = grad_gate + n;
        T *restrict out = t->out + row * n;
#pragma omp simd
        for (int i = 0; i < n; i++) {
            float g = get(gate[i]), u = get(up[i]), upstream = get(grad[i]);
            float sigmoid = 1 / (1 + exponential(-g));
            out[i] = put(g * sigmoid * u);
            grad_up[i] = put(upstream * g * sigmoid);
            grad_gate[i] = put(upstream * u * sigmoid * (1 + g * (1 - sigmoid)));
        }
    }
}

void swiglu_backward(const threads *pool, int64_t rows, int64_t n, const T *gate_up, const T *grad,
                     T *grad_gate_up, T *out) {
    swiglu_task task = {gate_up, grad, grad_gate_up, out, n};
    run_rows(pool, swiglu_backward_unit, &task, rows, FEW_ROWS);
}

typedef struct {
    const T *from;
    const int64_t *index; /* rows of `from`; -1 for zeros */
    T *to;
    const float *cos, *sin; /* [tokens, n / 2], or NULL */
    int64_t heads, rotated; /* of a token, and how many of them are rotated */
    int n, by_target;       /* whose row tells the token and head: of `to`, or of `from` */
    float sign;             /* -1 rotates back */
} gather_task;

static void gather_unit(const void *pass, int unit) {
    FOR_ROWS(gather_task) {
        int n = t->n, half = n / 2;
        int64_t source = t->index[row], place = t->by_target ? row : source;
        T *restrict to = t->to + row * n;
        const T *restrict from = t->from + source * n;
        if (source < 0) memset(to, 0, n * sizeof(T));
        else if (!t->cos || place % t->heads >= t->rotated) memcpy(to, from, n * sizeof(T));
        else {
            const float *cos = t->cos + place / t->heads * half;
            const float *sin = t->sin + place / t->heads * half;
#pragma omp simd
            for (int i = 0; i < half; i++) {
                float a = get(from[i]), b = get(from[i + half]), s = t->sign * sin[i];
                to[i] = put(a * cos[i] - b * s);
                to[i + half] = put(b * cos[i] + a * s);
            }
        }
    }
}

void gather_heads(const threads *pool, int64_t rows, int64_t n, const T *from, const int64_t *index,
                  T *to, const float *cos, const float *sin, int64_t heads, int64_t rotated,
                  int64_t is_back) {
    gather_task task = {from, index, to, cos, sin, heads, rotated, n, is_back, is_back ? -1 : 1};
    run_rows(pool, gather_unit, &task, rows, MANY_ROWS);
}

typedef struct {
    T *x;
    const int64_t *places; /* [copies, sums] */
    int64_t copies, sums;
    int n;
} copies_task;

static void sum_copies_unit(const void *pass, int unit) {
    const copies_task *t = ((const row_pass *)pass)->task;
    int64_t first = (int64_t)unit * SOME_ROWS, end = first + SOME_ROWS;
    for (int64_t place = first; place < end && place < t->sums; place++) {
        float sum[t->n];
        T *restrict to = t->x + t->places[place] * t->n;
        widen(sum, to, t->n);
        for (int64_t copy = 1; copy < t->copies; copy++) {
            const T *restrict from = t->x + t->places[copy * t->sums + place] * t->n;
            for (int i = 0; i < t->n; i++) sum[i] += get(from[i]);
        }
        for (int i = 0; i < t->n; i++) to[i] = put(sum[i]);
    }
}

/* Sums of rows of x [.., n] that are copies of each other, at the place of the first. */
void sum_copies(const threads *pool, int64_t sums, int64_t n, int64_t copies, T *x,
                const int64_t *places) {
    copies_task task = {x, places, copies, sums, n};
    run_rows(pool, sum_copies_unit, &task, sums, SOME_ROWS);
}

typedef struct {
    const T *weights;
    T *scores;
    float scale;
    int n;
} softmax_task;

/* Loops over rows of attention are short: by whole vectors, so that none of it is left for scalars. */
#define FOR_VECTORS(first, size) for (int first = 0; first < (size); first += LANES)
#define FOR_LANES(i) _Pragma("omp simd") for (int i = 0; i < LANES; i++)

/* Widen `seen` numbers of `size` in memory, and fill the last vector up. */
static inline void widen_vectors(float *restrict to, const T *restrict from, int seen, int size,
                                 float rest) {
    FOR_VECTORS(first, seen) {
        if (first + LANES <= size)
            FOR_LANES(i) to[first + i] = first + i < seen ? get(from[first + i]) : rest;
        else
            for (int i = first; i < first + LANES; i++) to[i] = i < seen ? get(from[i]) : rest;
    }
}

static inline void store_vectors(T *restrict to, const float *restrict from, int seen, int size) {
    FOR_VECTORS(first, seen) {
        if (first + LANES <= size) FOR_LANES(i) to[first + i] = put(from[first + i]);
        else for (int i = first; i < size; i++) to[i] = put(from[i]);
    }
    memset(to + seen, 0, (size - seen) * sizeof(T));
}

static inline float sum_of(const float *lanes) {
    floats sums;
    memcpy(&sums, lanes, sizeof sums);
    return sum_lanes(sums);
}

/* Turn scores of `seen` keys into weights, times `scale` before; the rest of `size` into zeros. */
static void soften_row(T *scores, int seen, int size, float scale) {
    float wide[seen + LANES], tops[LANES], sums[LANES] = {0}, top = -1e30f;
    widen_vectors(wide, scores, seen, size, -1e30f);
    for (int i = 0; i < LANES; i++) tops[i] = wide[i];
    FOR_VECTORS(first, seen) FOR_LANES(i)
        tops[i] = wide[first + i] > tops[i] ? wide[first + i] : tops[i];
    for (int i = 0; i < LANES; i++) top = tops[i] > top ? tops[i] : top;
    FOR_VECTORS(first, seen) FOR_LANES(i) wide[first + i] = exponential((wide[first + i] - top) * scale);
    for (int i = seen; i < seen + LANES; i++) wide[i] = 0;
    FOR_VECTORS(first, seen) FOR_LANES(i) sums[i] += wide[first + i];
    float share = 1 / sum_of(sums);
    FOR_VECTORS(first, seen) FOR_LANES(i) wide[first + i] *= share;
    store_vectors(scores, wide, seen, size);
}

/* Turn the gradient of weights into that of the scores. */
static void soften_row_backward(const T *weights, T *scores, int seen, int size, float scale) {
    float wide[seen + LANES], grad[seen + LANES], sums[LANES] = {0};
    widen_vectors(wide, weights, seen, size, 0);
    widen_vectors(grad, scores, seen, size, 0);
    FOR_VECTORS(first, seen) FOR_LANES(i) sums[i] += wide[first + i] * grad[first + i];
    float mean = sum_of(sums);
    FOR_VECTORS(first, seen) FOR_LANES(i)
        grad[first + i] = scale * wide[first + i] * (grad[first + i] - mean);
    store_vectors(scores, grad, seen, size);
}

static void causal_softmax_unit(const void *pass, int unit) {
    FOR_ROWS(softmax_task) soften_row(t->scores + row * t->n, row % t->n + 1, t->n, t->scale);
}

void causal_softmax(const threads *pool, int64_t rows, int64_t n, float scale, T *scores) {
    softmax_task task = {0, scores, scale, n};
    run_rows(pool, causal_softmax_unit, &task, rows, SOME_ROWS);
}

static void causal_softmax_backward_unit(const void *pass, int unit) {
    FOR_ROWS(softmax_task)
        soften_row_backward(t->weights + row * t->n, t->scores + row * t->n, row % t->n + 1, t->n,
                            t->scale);
}

void causal_softmax_backward(const threads *pool, int64_t rows, int64_t n, float scale,
                             const T *weights, T *grad) {
    softmax_task task = {weights, grad, scale, n};
    run_rows(pool, causal_softmax_backward_unit, &task, rows, SOME_ROWS);
}

typedef struct {
    T *logits;
    const int64_t *labels;
    float *losses, *sums, smoothing; /* a loss lacks the logarithm of its sum */
    uint8_t *correct;
    int n, has_gradient;
} cross_entropy_task;

static void cross_entropy_unit(const void *pass, int unit) {
    FOR_ROWS(cross_entropy_task) {
        int n = t->n;
        T *logits = t->logits + row * n;
        int64_t label = t->labels[row];
        float top = -1e30f, sum = 0, total = 0, own = get(logits[label]);
#pragma omp simd reduction(max : top)
        for (int i = 0; i < n; i++) top = get(logits[i]) > top ? get(logits[i]) : top;
#pragma omp simd reduction(+ : sum, total)
        for (int i = 0; i < n; i++) {
            sum += exponential(get(logits[i]) - top);
            total += get(logits[i]) - top;
        }
        float even = t->smoothing / n;
        t->losses[row] = -(1 - t->smoothing) * (own - top) - even * total;
        t->sums[row] = sum;
        t->correct[row] = own == top;
        if (!t->has_gradient) continue;
        float share = 1 / sum;
        for (int i = 0; i < n; i++)
            logits[i] = put(exponential(get(logits[i]) - top) * share - even);
        logits[label] = put(exponential(own - top) * share - even - (1 - t->smoothing));
    }
}

void cross_entropy(const threads *pool, int64_t rows, int64_t n, float smoothing, T *logits,
                   const int64_t *labels, float *losses, float *sums, uint8_t *correct,
                   int64_t has_gradient) {
    cross_entropy_task task = {logits, labels, losses, sums, smoothing, correct, n, has_gradient};
    run_rows(pool, cross_entropy_unit, &task, rows, FEW_ROWS);
}
