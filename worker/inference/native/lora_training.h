/* Products of LoRA's matrices in a training step, forward and backward:

     z = x · Aᵀ    y += s · z · Bᵀ        dz = s · dy · B     dx += dz · A
                                          dB = s · dyᵀ · z    dA = dzᵀ · x

   by the products of small_products.h. */

enum { UNIT_ROWS = 24, UNIT_COLUMNS = 64 };

typedef struct {
    const trained_lora *lora;
    const T *x, *mask; /* inputs; factors of dx, or NULL */
    T *y, *z;          /* outputs, or their gradients, and those of z */
    T *dz, *grad_x;    /* or NULL */
    uint32_t *a, *b, *pairs; /* words of A, of B, and of rows of z or dz */
    int64_t rows;
} lora_task;

/* The part that a unit of columns belongs to, whose number in the part it becomes; NULL after all. */
static const trained_part *take_part(const trained_lora *l, int *unit) {
    for (const trained_part *p = l->parts; p < l->parts + l->num_parts; p++) {
        int units = units_of(p->columns, UNIT_COLUMNS);
        if (*unit < units) return p;
        *unit -= units;
    }
    return 0;
}

static int count_part_units(const trained_lora *l) {
    int units = 0;
    for (int i = 0; i < l->num_parts; i++) units += units_of(l->parts[i].columns, UNIT_COLUMNS);
    return units;
}

static void forward_words_unit(const void *task, int unit) {
    const lora_task *t = task;
    const trained_lora *l = t->lora;
    int units = units_of(l->in, UNIT_COLUMNS), stride = whole_vectors(l->width);
    if (unit < units) {
        int first = unit * UNIT_COLUMNS, end = first + at_most(l->in - first, UNIT_COLUMNS);
        int64_t words = (int64_t)(end - first) / PER_WORD * stride;
        memset(t->a + (int64_t)first / PER_WORD * stride, 0, words * 4);
        for (const trained_part *p = l->parts; p < l->parts + l->num_parts; p++)
            transpose_words(t->a + p->first_z, stride, l->a + (int64_t)p->first_rank * l->in, l->in,
                            p->rank, first, end);
        return;
    }
    unit -= units;
    const trained_part *p = take_part(l, &unit);
    int column = unit * UNIT_COLUMNS, columns = at_most(p->columns - column, UNIT_COLUMNS);
    transpose_words(t->b + p->first_column + column, l->out, p->b + (int64_t)column * p->rank,
                    p->rank, columns, 0, p->rank);
}

static void forward_rows_unit(const void *task, int unit) {
    const lora_task *t = task;
    const trained_lora *l = t->lora;
    int64_t row = (int64_t)unit * UNIT_ROWS;
    int rows = at_most(t->rows - row, UNIT_ROWS), stride = whole_vectors(l->width);
    T *z = t->z + row * l->width;
    project_rows(t->x + row * l->in, l->in, t->a, stride, l->in, z, l->width, l->width, 1, rows);
    for (const trained_part *p = l->parts; p < l->parts + l->num_parts; p++)
        update_rows(t->y + row * l->out + p->first_column, 0, l->out, p->columns, z + p->first_z,
                    l->width, t->b + p->first_column, l->out, p->rank, l->scaling, rows);
}

static void lora_forward_pass(team *team, const void *pass) {
    const lora_task *t = pass;
    const trained_lora *l = t->lora;
    run_units(team, forward_words_unit, t, units_of(l->in, UNIT_COLUMNS) + count_part_units(l));
    run_units(team, forward_rows_unit, t, units_of(t->rows, UNIT_ROWS));
}

/* Compute z [rows, width], and add to y [rows, out]. `memory` has words of A and B. */
void lora_forward(const threads *pool, const trained_lora *l, int64_t rows, const T *x, T *y, T *z,
                  uint32_t *memory) {
    uint32_t *b = memory + (int64_t)l->in / PER_WORD * whole_vectors(l->width);
    lora_task task = {l, x, 0, y, z, 0, 0, memory, b, 0, rows};
    run_pass(pool, lora_forward_pass, &task);
}

static void pair_rows_of_z(const lora_task *t, const T *z, int unit) {
    int64_t row = (int64_t)unit * UNIT_COLUMNS;
    int width = t->lora->width;
    pair_rows(t->pairs + row / PER_WORD * width, width, z + row * width, width,
              at_most(t->rows - row, UNIT_COLUMNS), width);
}

static void backward_words_unit(const void *task, int unit) {
    const lora_task *t = task;
    const trained_lora *l = t->lora;
    const trained_part *p = take_part(l, &unit);
    if (p) {
        int column = unit * UNIT_COLUMNS, columns = at_most(p->columns - column, UNIT_COLUMNS);
        int stride = whole_vectors(l->max_rank);
        uint32_t *to = t->b + (int64_t)(p->first_column + column) / PER_WORD * stride;
        memset(to, 0, (int64_t)columns / PER_WORD * stride * 4);
        pair_rows(to, stride, p->b + (int64_t)column * p->rank, p->rank, columns, p->rank);
        return;
    }
    int units = units_of(t->rows, UNIT_COLUMNS), first = (unit - units) * UNIT_COLUMNS;
    if (unit < units) pair_rows_of_z(t, t->z, unit);
    else
        for (p = l->parts; p < l->parts + l->num_parts; p++)
            pair_rows(t->a + (int64_t)p->first_z / PER_WORD * l->in + first, l->in,
                      l->a + (int64_t)p->first_rank * l->in + first, l->in, p->rank,
                      at_most(l->in - first, UNIT_COLUMNS));
}

static void backward_rows(const lora_task *t, int unit) {
    const trained_lora *l = t->lora;
    int64_t row = (int64_t)unit * UNIT_ROWS;
    int rows = at_most(t->rows - row, UNIT_ROWS), stride = whole_vectors(l->max_rank);
    T *dz = t->dz + row * l->width;
    for (const trained_part *p = l->parts; p < l->parts + l->num_parts; p++)
        project_rows(t->y + row * l->out + p->first_column, l->out,
                     t->b + (int64_t)p->first_column / PER_WORD * stride, stride, p->columns,
                     dz + p->first_z, l->width, whole_words(p->rank), l->scaling, rows);
    if (t->grad_x)
        update_rows(t->grad_x + row * l->in, t->mask ? t->mask + row * l->in : 0, l->in, l->in, dz,
                    l->width, t->a, l->in, l->width, 1, rows);
}

/* dB of some columns. */
static void b_gradient(const lora_task *t, const trained_part *p, int unit) {
    const trained_lora *l = t->lora;
    int first = unit * UNIT_COLUMNS, end = first + at_most(p->columns - first, UNIT_COLUMNS);
    for (int column = first; column < end; column += LANES)
        for (int rank = 0, count; rank < p->rank; rank += count) {
            floats sums[SUMMED_RANKS];
            T narrow[SUMMED_RANKS][LANES];
            count = sum_rows(t->y + p->first_column + column, l->out, t->rows,
                             t->pairs + p->first_z + rank, l->width,
                             whole_words(p->rank) - rank, sums);
            for (int k = 0; k < count; k++) store_narrow(narrow[k], l->scaling * sums[k]);
            count = at_most(p->rank - rank, count);
            for (int i = 0; i < LANES; i++)
                for (int k = 0; k < count; k++)
                    p->b_gradient[(int64_t)(column + i) * p->rank + rank + k] = narrow[k][i];
        }
}

static void lora_backward_unit(const void *task, int unit) {
    const lora_task *t = task;
    int units = units_of(t->rows, UNIT_ROWS), column_unit = unit - units;
    if (unit < units) backward_rows(t, unit);
    else {
        const trained_part *p = take_part(t->lora, &column_unit);
        b_gradient(t, p, column_unit);
    }
}

static void lora_backward_pass(team *team, const void *pass) {
    const lora_task *t = pass;
    const trained_lora *l = t->lora;
    int units = count_part_units(l);
    run_units(team, backward_words_unit, t,
              units + units_of(t->rows, UNIT_COLUMNS) + units_of(l->in, UNIT_COLUMNS));
    run_units(team, lora_backward_unit, t, units_of(t->rows, UNIT_ROWS) + units);
}

/* Compute dB and dz [rows, width] of dy = `grad` [rows, out], and add to `grad_x` [rows, in], if that
   is not NULL, what is multiplied by `mask`, if there is one. `memory` has words of A, B and z. */
void lora_backward(const threads *pool, const trained_lora *l, int64_t rows, const T *grad,
                   const T *z, T *dz, T *grad_x, const T *mask, uint32_t *memory) {
    uint32_t *b = memory + (int64_t)l->width / PER_WORD * l->in;
    uint32_t *pairs = b + (int64_t)l->out / PER_WORD * whole_vectors(l->max_rank);
    lora_task task = {l, 0, mask, (T *)grad, (T *)z, dz, grad_x, memory, b, pairs, rows};
    run_pass(pool, lora_backward_pass, &task);
}

static void pair_gradients_unit(const void *task, int unit) {
    const lora_task *t = task;
    pair_rows_of_z(t, t->dz, unit);
}

static void a_gradient_unit(const void *task, int unit) {
    const lora_task *t = task;
    const trained_lora *l = t->lora;
    int first = unit * UNIT_COLUMNS, end = first + at_most(l->in - first, UNIT_COLUMNS);
    for (int column = first; column < end; column += LANES)
        for (const trained_part *p = l->parts; p < l->parts + l->num_parts; p++)
            for (int rank = 0, count; rank < p->rank; rank += count) {
                floats sums[SUMMED_RANKS];
                count = sum_rows(t->x + column, l->in, t->rows, t->pairs + p->first_z + rank,
                                 l->width, whole_words(p->rank) - rank, sums);
                T *to = l->a_gradient + (int64_t)(p->first_rank + rank) * l->in + column;
                for (int k = 0; k < at_most(p->rank - rank, count); k++)
                    store_narrow(to + (int64_t)k * l->in, sums[k]);
            }
}

static void lora_backward_weights_pass(team *team, const void *pass) {
    const lora_task *t = pass;
    run_units(team, pair_gradients_unit, t, units_of(t->rows, UNIT_COLUMNS));
    run_units(team, a_gradient_unit, t, units_of(t->lora->in, UNIT_COLUMNS));
}

/* Compute dA of x [rows, in]. `memory` has words of dz. */
void lora_backward_weights(const threads *pool, const trained_lora *l, int64_t rows, const T *x,
                           const T *dz, uint32_t *memory) {
    lora_task task = {l, x, 0, 0, 0, (T *)dz, 0, 0, 0, memory, rows};
    run_pass(pool, lora_backward_weights_pass, &task);
}
