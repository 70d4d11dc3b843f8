/* Work in units that threads take one after the other. */

/* `GOMP_parallel` of torch's own OpenMP, or NULL: threads of another pool would wait for torch's
   by spinning on the same cores. */
typedef void (*parallel_function)(void (*)(void *), void *, unsigned threads, unsigned flags);

typedef struct {
    parallel_function parallel;
    int64_t count;
} threads;

typedef void (*unit_function)(const void *task, int unit);

typedef struct {
    unit_function run;
    const void *task;
    int count, next;
} work_list;

static void work(void *argument) {
    work_list *list = argument;
    for (int unit; (unit = __atomic_fetch_add(&list->next, 1, __ATOMIC_RELAXED)) < list->count;)
        list->run(list->task, unit);
}

static void run_units(const threads *t, unit_function run, const void *task, int count) {
    work_list list = {run, task, count, 0};
    if (t->parallel && t->count > 1 && count > 1)
        t->parallel(work, &list, t->count, 0);
    else
        work(&list);
}
