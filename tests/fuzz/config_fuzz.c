/* Configuration: any bytes give a checked value, or one line that says what is wrong. */
#include "base/config.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config *config = NULL;
    char why[CONFIG_WHY_BYTES] = "";
    enum status status = config_parse(bytes_of(data, size), "fuzz.yaml", &config, why, sizeof(why));
    if (status == STATUS_OK) {
        CHECK(config != NULL);
        CHECK(config->vnodes >= 1 && (config->vnodes & (config->vnodes - 1)) == 0);
        CHECK(config->member_count == 0 || config_self(config) != NULL);
        CHECK(config->listen_client_count >= 1);
        for (uint32_t i = 0; i < config->table_count; i++) {
            const struct config_table *table = &config->tables[i];
            CHECK(table->n >= 1 && table->n <= CONFIG_N_MAX);
            CHECK(table->r >= 1 && table->r <= table->n);
            CHECK(table->w >= 1 && table->w <= table->n);
        }
        config_free(config);
        return 0;
    }
    CHECK(status == STATUS_INVALID);
    CHECK(config == NULL);
    size_t length = strnlen(why, sizeof(why));
    CHECK(length > 0 && length < sizeof(why));
    for (size_t i = 0; i < length; i++) CHECK(why[i] != '\n' && why[i] != '\r' && why[i] != '\033');
    return 0;
}
