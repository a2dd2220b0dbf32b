#include "actor/phi.h"

#include <stdlib.h>

#include "base/check.h"

enum { STEPS = 8 /* of a deviation */, ROWS = 65 };

static const uint64_t ms = 1000000;

/* -1000 log10(Q(y)), y from 0 to 8 deviations in eighths: Q(y) = erfc(y / sqrt 2) / 2. */
static const uint16_t tail[ROWS] = {
    301,   347,   397,   451,   511,   575,   645,   719,   800,   885,   976,   1073,  1175,
    1283,  1397,  1517,  1643,  1775,  1913,  2057,  2207,  2363,  2526,  2695,  2870,  3051,
    3239,  3433,  3633,  3840,  4053,  4273,  4499,  4732,  4971,  5217,  5469,  5727,  5993,
    6264,  6543,  6827,  7119,  7417,  7721,  8033,  8350,  8675,  9006,  9344,  9688,  10039,
    10396, 10760, 11131, 11509, 11893, 12284, 12681, 13085, 13496, 13914, 14338, 14769, 15206,
};

void phi_fini(struct phi *phi)
{
    free(phi->window);
    *phi = (struct phi){0};
}

static void keep(struct phi *phi, uint64_t interval_ms)
{
    uint16_t interval = (uint16_t)(interval_ms > PHI_INTERVAL_MS_MAX ? PHI_INTERVAL_MS_MAX : interval_ms);
    if (phi->window == NULL) {
        phi->window = calloc(PHI_WINDOW, sizeof(*phi->window));
        CHECK(phi->window != NULL);
    }
    uint16_t oldest = phi->window[phi->next]; /* 0 until the ring is full */
    phi->window[phi->next] = interval;
    phi->next = (phi->next + 1) % PHI_WINDOW;
    if (phi->count < PHI_WINDOW) phi->count++;
    phi->sum += interval;
    phi->sum -= oldest;
    phi->squares += (uint64_t)interval * interval;
    phi->squares -= (uint64_t)oldest * oldest;
}

void phi_beat(struct phi *phi, uint64_t now_ns)
{
    uint64_t interval_ms = now_ns > phi->heard_ns ? (now_ns - phi->heard_ns) / ms : 0;
    if (phi->heard_ns != 0 && !phi->broken && interval_ms >= PHI_BURST_MS &&
        phi_level(phi, now_ns) < PHI_SUSPECTED)
        keep(phi, interval_ms);
    if (now_ns > phi->heard_ns) phi->heard_ns = now_ns;
    phi->broken = false;
}

void phi_forget(struct phi *phi)
{
    phi->heard_ns = 0;
    phi->broken = false;
}

void phi_excuse(struct phi *phi, uint64_t now_ns)
{
    if (phi->heard_ns == 0 || now_ns <= phi->heard_ns) return;
    phi->heard_ns = now_ns;
    phi->broken = true;
}

static uint64_t square_root(uint64_t value)
{
    uint64_t root = 0;
    for (uint64_t bit = UINT64_C(1) << 31; bit > 0; bit >>= 1)
        if ((root + bit) * (root + bit) <= value) root += bit;
    return root;
}

/* Mean and deviation of the window and the prior, in us. */
static void shape(const struct phi *phi, uint64_t *mean_us, uint64_t *deviation_us)
{
    const uint64_t each =
        (uint64_t)PHI_PERIOD_MS * PHI_PERIOD_MS + (uint64_t)PHI_DEVIATION_MIN_MS * PHI_DEVIATION_MIN_MS;
    uint64_t n = phi->count + PHI_PRIOR;
    uint64_t sum = phi->sum + (uint64_t)PHI_PRIOR * PHI_PERIOD_MS;
    uint64_t squares = phi->squares + PHI_PRIOR * each;
    *mean_us = sum * 1000 / n;
    *deviation_us = square_root((n * squares - sum * sum) * 1000000 / (n * n));
    if (*deviation_us < PHI_DEVIATION_MIN_MS * 1000) *deviation_us = PHI_DEVIATION_MIN_MS * 1000;
}

uint32_t phi_level(const struct phi *phi, uint64_t now_ns)
{
    if (phi->heard_ns == 0) return tail[ROWS - 1];
    uint64_t mean_us, deviation_us;
    uint64_t silent_us = now_ns > phi->heard_ns ? (now_ns - phi->heard_ns) / 1000 : 0;
    if (silent_us <= PHI_PAUSE_MS * 1000) return 0;
    shape(phi, &mean_us, &deviation_us);
    uint64_t granted_us = mean_us + PHI_PAUSE_MS * 1000;
    if (silent_us <= granted_us) return 0;
    uint64_t steps = (silent_us - granted_us) * STEPS, row = steps / deviation_us;
    if (row >= ROWS - 1) return tail[ROWS - 1];
    uint64_t part = steps % deviation_us, rise = (uint64_t)(tail[row + 1] - tail[row]);
    return tail[row] + (uint32_t)(rise * part / deviation_us);
}
