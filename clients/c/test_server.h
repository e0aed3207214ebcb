/* test_server.h: a server that a test starts, stops and kills, and that ends with the test. */
#ifndef DIPC_TEST_SERVER_H
#define DIPC_TEST_SERVER_H

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SERVER_WORDS 16 /* the most words that a test adds to the command line */

struct server {
    const char *program, *dir; /* dipc, and its directory of all instances */
    int port;                  /* 0 before the first start: a free one */
    pid_t pid;
};

static inline void fail_test(const char *what)
{
    perror(what);
    exit(1);
}

/* Starts a program. Its output goes to `output`, or to /dev/null if that is -1. Its errors are not shown. */
static inline pid_t start_program(char **words, int output)
{
    pid_t pid = fork();
    if (pid < 0)
        fail_test("fork");
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(output >= 0 ? output : null, 1);
    dup2(null, 2);
    execv(words[0], words);
    _exit(127);
}

/* Starts a server with words such as "4 64 PORT 8 --fresh", and returns when it serves. PORT is that of `server`. */
static inline void start_server(struct server *server, const char *words)
{
    char copy[256], port[16], line[512], *list[SERVER_WORDS + 5] = {(char *)server->program};
    int ends[2], n = 1;
    size_t len = 0;
    snprintf(copy, sizeof copy, "%s", words);
    snprintf(port, sizeof port, "%d", server->port);
    for (char *word = strtok(copy, " "); word && n <= SERVER_WORDS; word = strtok(NULL, " "))
        list[n++] = strcmp(word, "PORT") == 0 ? port : word;
    list[n++] = "--foreground";
    list[n++] = "--dir";
    list[n++] = (char *)server->dir;
    if (pipe2(ends, O_CLOEXEC) != 0)
        fail_test("pipe");
    server->pid = start_program(list, ends[1]);
    close(ends[1]);
    while (len + 1 < sizeof line && read(ends[0], line + len, 1) == 1 && line[len] != '\n')
        len++;
    line[len] = '\0';
    close(ends[0]);
    const char *address = strstr(line, "127.0.0.1:");
    server->port = address ? atoi(address + strlen("127.0.0.1:")) : 0;
    if (server->port == 0) {
        fprintf(stderr, "no server: %s\n", line);
        exit(1);
    }
}

static inline void end_server(struct server *server, int signal)
{
    kill(server->pid, signal);
    waitpid(server->pid, NULL, 0);
    server->pid = 0;
}

/* Runs dipcrm, which is beside dipc. */
static inline void remove_server(struct server *server)
{
    char path[512], port[16];
    int status;
    snprintf(path, sizeof path, "%srm", server->program);
    snprintf(port, sizeof port, "%d", server->port);
    char *words[] = {path, port, "--dir", (char *)server->dir, NULL};
    pid_t pid = start_program(words, -1);
    if (waitpid(pid, &status, 0) != pid || status != 0)
        fail_test("dipcrm");
    if (server->pid)
        waitpid(server->pid, NULL, 0);
    server->pid = 0;
}

#endif
