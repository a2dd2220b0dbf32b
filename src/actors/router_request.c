#include "actors/router_request.h"

#include <stdlib.h>

#include "base/check.h"

struct task *tasks_take(struct tasks *tasks)
{
    if (tasks->in_use == tasks->count) {
        uint32_t count = tasks->count == 0 ? 64 : tasks->count * 2;
        tasks->pool = realloc(tasks->pool, count * sizeof(*tasks->pool));
        tasks->unused = realloc(tasks->unused, count * sizeof(*tasks->unused));
        CHECK(tasks->pool != NULL);
        CHECK(tasks->unused != NULL);
        for (uint32_t i = tasks->count; i < count; i++) {
            tasks->pool[i] = calloc(1, sizeof(struct task));
            CHECK(tasks->pool[i] != NULL);
            tasks->pool[i]->id = request_id(tasks->generation, i);
            tasks->unused[count - 1 - i] = i;
        }
        tasks->count = count;
    }
    return tasks->pool[tasks->unused[tasks->count - ++tasks->in_use]];
}

void tasks_give_back(struct tasks *tasks, struct task *task)
{
    CHECK(task->kind != TASK_FREE);
    task->kind = TASK_FREE;
    list_remove(&task->link);
    tasks->unused[tasks->count - tasks->in_use--] = (uint32_t)task->id;
    task->id = request_id_next(task->id);
}

struct task *tasks_find(const struct tasks *tasks, uint64_t id)
{
    uint32_t place = (uint32_t)id;
    if (place >= tasks->count) return NULL;
    struct task *task = tasks->pool[place];
    return task->id == id && task->kind != TASK_FREE ? task : NULL;
}

void tasks_fini(struct tasks *tasks)
{
    for (uint32_t i = 0; i < tasks->count; i++) {
        buffer_fini(&tasks->pool[i]->forward.operation);
        free(tasks->pool[i]);
    }
    free(tasks->pool);
    free(tasks->unused);
    *tasks = (struct tasks){0};
}
