/*
 * Traffic for benchmarks of the data path, so cheap at both ends that what lies between them shows.
 *
 *   load serve ADDRESS PORT             echoes, until it is killed
 *   load KIND ADDRESS PORT COUNT        prints the nanoseconds that COUNT of them took, all together
 *
 * KIND: stream    MiB over one connection, until the other end has read the last byte
 *       request   one byte there and back, over one connection
 *       connect   connect, one byte there and back, close
 *       udp       datagrams of 18 bytes one way, in a flow that was answered before
 *
 * A connection is closed by a reset: it leaves no TIME-WAIT, so that ports and tracked connections do not run out. The
 * first byte of a connection says what it is for. Datagrams are handed over a hundred at a time, and the kernel carries
 * each to the other end's socket before it takes the next.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 100, DATAGRAM = 18, MIB = 1 << 20, TIMEOUT_S = 20, RETRY_MS = 50 };

static char buffer[MIB];
static const int yes = 1;

static long long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void must(int is_true, const char *what)
{
    if (!is_true)
        err(1, "%s", what);
}

static int make(int type)
{
    int sock = socket(AF_INET, type, 0);
    struct timeval patience = {.tv_sec = TIMEOUT_S};
    must(sock >= 0, "socket");
    must(!setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), "SO_RCVTIMEO");
    must(!setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience), "SO_SNDTIMEO");
    return sock;
}

static int connected(int type, const struct sockaddr_in *server)
{
    struct linger reset = {.l_onoff = 1};
    int sock = make(type);
    must(!connect(sock, (const struct sockaddr *)server, sizeof *server), "connect");
    if (type == SOCK_STREAM) {
        must(!setsockopt(sock, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), "SO_LINGER");
        must(!setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes), "TCP_NODELAY");
    }
    return sock;
}

static void there_and_back(int sock, char byte)
{
    must(send(sock, &byte, 1, 0) == 1, "send");
    must(recv(sock, &byte, 1, 0) == 1, "no answer");
}

/* Of a connection: echoes bytes, or reads all of a stream and then says so. */
static void answer(int sock)
{
    ssize_t got = recv(sock, buffer, 1, 0);
    if (got == 1 && buffer[0] == 's') {
        while (recv(sock, buffer, sizeof buffer, 0) > 0)
            ;
        send(sock, buffer, 1, MSG_NOSIGNAL);
    } else {
        while (got == 1 && send(sock, buffer, 1, MSG_NOSIGNAL) == 1)
            got = recv(sock, buffer, 1, 0);
    }
    close(sock);
}

/* Echoes what is longer than a datagram of the measurement, which shows that the way is free; drops the rest. */
static void answer_datagrams(int udp)
{
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    ssize_t got;
    while ((got = recvfrom(udp, buffer, sizeof buffer, MSG_DONTWAIT, (struct sockaddr *)&peer, &length)) >= 0)
        if (got > DATAGRAM)
            sendto(udp, buffer, got, 0, (struct sockaddr *)&peer, length);
}

static void serve(const struct sockaddr_in *own)
{
    int tcp = make(SOCK_STREAM), udp = make(SOCK_DGRAM);
    struct pollfd ready[] = {{.fd = tcp, .events = POLLIN}, {.fd = udp, .events = POLLIN}};
    setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    must(!bind(tcp, (const struct sockaddr *)own, sizeof *own), "bind");
    must(!bind(udp, (const struct sockaddr *)own, sizeof *own), "bind");
    must(!listen(tcp, 64), "listen");
    while (poll(ready, 2, -1) > 0) {
        if (ready[1].revents)
            answer_datagrams(udp);
        if (ready[0].revents) {
            int sock = accept(tcp, NULL, NULL);
            if (sock >= 0) {
                setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                answer(sock);
            }
        }
    }
}

static void stream(const struct sockaddr_in *server, long mib)
{
    int sock = connected(SOCK_STREAM, server);
    memset(buffer, 's', sizeof buffer);
    while (mib--)
        for (size_t sent = 0; sent < sizeof buffer;) {
            ssize_t part = send(sock, buffer + sent, sizeof buffer - sent, 0);
            must(part > 0, "send");
            sent += part;
        }
    shutdown(sock, SHUT_WR);
    must(recv(sock, buffer, 1, 0) == 1, "no answer");
    close(sock);
}

static void request(const struct sockaddr_in *server, long count)
{
    int sock = connected(SOCK_STREAM, server);
    while (count--)
        there_and_back(sock, 'r');
    close(sock);
}

static void connect_and_close(const struct sockaddr_in *server, long count)
{
    while (count--) {
        int sock = connected(SOCK_STREAM, server);
        there_and_back(sock, 'r');
        close(sock);
    }
}

/* A flow that was answered. Asked until then: the server may still be full of another client's datagrams. */
static int answered(const struct sockaddr_in *server)
{
    int sock = connected(SOCK_DGRAM, server), tries = TIMEOUT_S * 1000 / RETRY_MS;
    struct pollfd ready = {.fd = sock, .events = POLLIN};
    do {
        must(tries-- > 0, "no answer");
        must(send(sock, buffer, DATAGRAM + 1, 0) > 0, "send");
    } while (poll(&ready, 1, RETRY_MS) < 1);
    must(recv(sock, buffer, sizeof buffer, 0) > 0, "no answer");
    return sock;
}

static void udp(int sock, long count)
{
    struct iovec data = {.iov_base = buffer, .iov_len = DATAGRAM};
    struct mmsghdr batch[BATCH];
    memset(batch, 0, sizeof batch);
    for (int i = 0; i < BATCH; i++)
        batch[i].msg_hdr = (struct msghdr){.msg_iov = &data, .msg_iovlen = 1};
    for (; count > 0; count -= BATCH)
        must(sendmmsg(sock, batch, BATCH, 0) == BATCH, "sendmmsg");
}

int main(int argc, char **argv)
{
    if (argc < 4)
        errx(2, "usage: load serve|stream|request|connect|udp ADDRESS PORT [COUNT]");
    const char *kind = argv[1];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[3]))};
    must(inet_pton(AF_INET, argv[2], &address.sin_addr) == 1, argv[2]);
    long count = argc > 4 ? atol(argv[4]) : 1;
    if (!strcmp(kind, "serve")) {
        serve(&address);
        return 1;
    }
    int datagrams = -1;
    if (!strcmp(kind, "udp")) {
        datagrams = answered(&address);
    }
    long long begun = now_ns();
    if (datagrams >= 0)
        udp(datagrams, count);
    else if (!strcmp(kind, "stream"))
        stream(&address, count);
    else if (!strcmp(kind, "request"))
        request(&address, count);
    else if (!strcmp(kind, "connect"))
        connect_and_close(&address, count);
    else
        errx(2, "%s: no such kind of traffic", kind);
    printf("%lld\n", now_ns() - begun);
    return 0;
}
