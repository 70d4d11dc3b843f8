/* AdamW over all parameters in one pass over memory, with the clipping of their gradient.
   `worker/training/optimizer.py` says what is computed. */

/* A parameter's numbers and moments in float32, and its gradient in T or in float32. */
typedef struct {
    float *weights, *mean, *square;
    const void *gradient;
    int64_t count, first_unit;
    float shrink, step_size, root_scale; /* of the weights, the mean and the root of the square */
    int32_t is_wide;
} parameter;

/* Numbers of a unit, of which some are in a thread's cache at once. */
enum { UNIT_NUMBERS = 16384, CACHED_NUMBERS = 512 };

typedef struct {
    const parameter *parameters;
    int64_t num_parameters;
    double *sums; /* of each unit */
    float clip, mean_rate, square_rate, square_decay, eps;
} adamw_task;

/* Numbers of one parameter from `first` on, to `end`. */
typedef struct {
    const parameter *of;
    int64_t first, end;
} number_range;

static number_range find_range(const adamw_task *t, int64_t unit) {
    int64_t low = 0, high = t->num_parameters;
    while (high - low > 1) {
        int64_t middle = (low + high) / 2;
        if (t->parameters[middle].first_unit <= unit) low = middle;
        else high = middle;
    }
    const parameter *p = t->parameters + low;
    int64_t first = (unit - p->first_unit) * UNIT_NUMBERS, end = first + UNIT_NUMBERS;
    return (number_range){p, first, end < p->count ? end : p->count};
}

static const float *read_gradient(const parameter *p, int64_t first, int count, float *wide) {
    if (p->is_wide) return (const float *)p->gradient + first;
    widen(wide, (const T *)p->gradient + first, count);
    return wide;
}

/* The part of a range that begins at `place`. */
#define FOR_PARTS(range) \
    for (int64_t place = (range).first, count; \
         count = (range).end - place, count = count < CACHED_NUMBERS ? count : CACHED_NUMBERS, \
         count > 0; place += count)

static void sum_squares_unit(const void *pass, int unit) {
    const adamw_task *t = ((const row_pass *)pass)->task;
    number_range range = find_range(t, unit);
    float wide[CACHED_NUMBERS];
    double sum = 0;
    FOR_PARTS(range) {
        const float *gradient = read_gradient(range.of, place, count, wide);
        sum += dot(gradient, gradient, count);
    }
    t->sums[unit] = sum;
}

void sum_squares(const threads *pool, const parameter *parameters, int64_t num_parameters,
                 int64_t num_units, double *sums) {
    adamw_task task = {parameters, num_parameters, sums};
    run_rows(pool, sum_squares_unit, &task, num_units, FEW_ROWS);
}

static void adamw_unit(const void *pass, int unit) {
    const adamw_task *t = ((const row_pass *)pass)->task;
    number_range range = find_range(t, unit);
    float wide[CACHED_NUMBERS], clip = t->clip, mean_rate = t->mean_rate, eps = t->eps;
    float square_rate = t->square_rate, square_decay = t->square_decay, shrink = range.of->shrink;
    float step_size = range.of->step_size, root_scale = range.of->root_scale;
    FOR_PARTS(range) {
        const float *restrict gradient = read_gradient(range.of, place, count, wide);
        float *restrict weights = range.of->weights + place, *restrict mean = range.of->mean + place;
        float *restrict square = range.of->square + place;
#pragma omp simd
        for (int i = 0; i < count; i++) {
            float g = gradient[i] * clip;
            float m = mean[i] + (g - mean[i]) * mean_rate;
            float s = square[i] * square_decay + g * g * square_rate;
            mean[i] = m;
            square[i] = s;
            weights[i] = weights[i] * shrink - step_size * m / (square_root(s) * root_scale + eps);
        }
    }
}

void adamw(const threads *pool, const parameter *parameters, int64_t num_parameters,
           int64_t num_units, float clip, float mean_rate, float square_rate, float square_decay,
           float eps) {
    adamw_task task = {parameters, num_parameters, 0, clip, mean_rate, square_rate, square_decay, eps};
    run_rows(pool, adamw_unit, &task, num_units, FEW_ROWS);
}
