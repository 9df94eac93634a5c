// What the handler makes of connections. Run it in this folder by
//
//     cc -g -fsanitize=address,undefined handler_test.c handler.c kiln/*.c -o /tmp/handler_test && /tmp/handler_test
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "kiln/kiln.h"

/* What the server says; none: there is no server. */
static const char *server;

bool kiln_tcp_connect(kiln_tcp *connection, const char *host, uint16_t port, uint64_t timeout_ms) {
    assert(strcmp(host, "greeter.example") == 0 && port == 7 && timeout_ms == 900);
    *connection = (kiln_tcp){.message = "", .open = server != NULL};
    if (server == NULL) *connection = (kiln_tcp){.error = KILN_TCP_CONNECT, .message = "refused"};
    return connection->open;
}

bool kiln_tcp_write(kiln_tcp *connection, const void *data, size_t length) {
    (void)data, (void)length;
    return connection->open;
}

size_t kiln_tcp_read(kiln_tcp *connection, void *buffer, size_t size) {
    assert(connection->open && size > 0);
    if (*server == '\0') return 0;
    *(char *)buffer = *server++;
    return 1;
}

static kiln_answer greeted(const char *says) {
    server = says;
    const char *payload = "{\"do\": \"greet\", \"host\": \"greeter.example\", \"port\": 7, \"timeout_ms\": 900, \"text\": \"hi\"}";
    kiln_job job = {.payload = kiln_text(payload)};
    return handle(&job);
}

int main(void) {
    kiln_answer answer = greeted("hello\r\nhi, too\n");
    assert(answer.kind == KILN_OK);
    assert(strcmp(answer.text.data, "{\"greeting\": \"hello\", \"answer\": \"hi, too\"}") == 0);
    answer = greeted(NULL);
    assert(answer.kind == KILN_RETRY && strstr(answer.text.data, "refused") != NULL);
    puts("ok");
}
