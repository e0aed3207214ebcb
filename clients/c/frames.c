/* frames.c: a client of the classic port (dipc .. --classic PORT2) that sends frames.
 *
 *     ./frames PORT2 "w 3" "hello"        prints the answer: OK v=1
 *     ./frames PORT2 "r 3"                prints the message: hello
 *     ./frames PORT2 "w 3" < picture      without text: all of standard input
 *
 * A frame is a length of 32 bits, most significant byte first, and that many bytes: one datagram. Each request is
 * one frame, and so is each answer. The data may contain any bytes.
 */
#define _POSIX_C_SOURCE 200809L

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void *enlarge(void *buffer, size_t size)
{
    void *larger = realloc(buffer, size);
    if (larger == NULL)
        fail("frames");
    return larger;
}

/* Sends all bytes: one send may accept fewer. */
static void send_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n < 0)
            fail("send");
        bytes += n;
        len -= (size_t)n;
    }
}

/* Receives exactly `len` bytes: one recv may return fewer. */
static void receive_all(int fd, char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = recv(fd, bytes, len, 0);
        if (n < 0)
            fail("recv");
        if (n == 0) {
            fprintf(stderr, "frames: the server closed the connection\n");
            exit(1);
        }
        bytes += n;
        len -= (size_t)n;
    }
}

static void send_frame(int fd, const char *datagram, size_t len)
{
    uint32_t prefix = htonl((uint32_t)len);
    send_all(fd, (const char *)&prefix, sizeof prefix);
    send_all(fd, datagram, len);
}

/* Returns a datagram that the caller frees. */
static char *receive_frame(int fd, size_t *len)
{
    uint32_t prefix;
    receive_all(fd, (char *)&prefix, sizeof prefix);
    *len = ntohl(prefix);
    char *datagram = enlarge(NULL, *len + 1);
    receive_all(fd, datagram, *len);
    return datagram;
}

/* Appends all of standard input to the datagram. Returns its new length. */
static size_t read_input(char **datagram, size_t len)
{
    size_t n;
    do {
        *datagram = enlarge(*datagram, len + 4096);
        n = fread(*datagram + len, 1, 4096, stdin);
        len += n;
    } while (n > 0);
    return len;
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: frames PORT2 REQUEST [TEXT]\n");
        return 2;
    }
    address.sin_port = htons((uint16_t)atoi(argv[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) < 0)
        fail("connect");

    /* An end of line after the request separates it from its data. The answer to a read without one is exactly
     * the message. */
    const char *request = argv[2], *text = argc > 3 ? argv[3] : "";
    int has_data = request[0] == 'w';
    size_t len = strlen(request) + (has_data ? 1 + strlen(text) : 0);
    char *datagram = enlarge(NULL, len + 1);
    sprintf(datagram, has_data ? "%s\n%s" : "%s", request, text);
    if (has_data && argc == 3)
        len = read_input(&datagram, len);
    send_frame(fd, datagram, len);
    free(datagram);

    char *answer = receive_frame(fd, &len);
    fwrite(answer, 1, len, stdout);
    free(answer);
    close(fd);
    return 0;
}
