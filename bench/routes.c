/*
 * How fast could routes be put into the kernel at all? The rows of `bench_routes`, packed and sent as
 * `tortie.kernel.netlink` does: some 32 KiB at once, the last message of each asking for an acknowledgement.
 *
 *   routes IFINDEX COUNT     COUNT host routes from 10.64.0.0 on
 */
#include <arpa/inet.h>
#include <err.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH_BYTES = 32 * 1024, PROTOCOL = 116, FIRST = 0x0A400000 };

struct row {
    struct nlmsghdr header;
    struct rtmsg route;
    struct rtattr destination_head;
    unsigned destination;
    struct rtattr metric_head;
    unsigned metric;
    struct rtattr interface_head;
    unsigned interface;
};

static struct row batch[BATCH_BYTES / sizeof(struct row)];

static void wait_for(int sock, unsigned last)
{
    char answer[8192];
    for (;;) {
        ssize_t left = recv(sock, answer, sizeof answer, 0);
        if (left < 0)
            err(1, "recv");
        for (struct nlmsghdr *head = (void *)answer; NLMSG_OK(head, left); head = NLMSG_NEXT(head, left)) {
            const struct nlmsgerr *verdict = NLMSG_DATA(head);
            if (head->nlmsg_type == NLMSG_ERROR && verdict->error)
                errx(1, "route %u: %s", head->nlmsg_seq, strerror(-verdict->error));
            if (head->nlmsg_seq == last)
                return;
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 3)
        errx(2, "usage: routes IFINDEX COUNT");
    unsigned interface = atoi(argv[1]), count = atoi(argv[2]);
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    int size = 8 * 1024 * 1024, sock = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    if (sock < 0 || connect(sock, (struct sockaddr *)&kernel, sizeof kernel))
        err(1, "netlink");
    setsockopt(sock, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    for (unsigned done = 0; done < count;) {
        unsigned rows = 0;
        for (; rows < sizeof batch / sizeof *batch && done < count; rows++, done++)
            batch[rows] = (struct row){
                .header = {.nlmsg_len = sizeof(struct row), .nlmsg_type = RTM_NEWROUTE, .nlmsg_seq = done + 1,
                           .nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL},
                .route = {.rtm_family = AF_INET, .rtm_dst_len = 32, .rtm_table = RT_TABLE_MAIN,
                          .rtm_protocol = PROTOCOL, .rtm_scope = RT_SCOPE_LINK, .rtm_type = RTN_UNICAST},
                .destination_head = {8, RTA_DST}, .destination = htonl(FIRST + done),
                .metric_head = {8, RTA_PRIORITY}, .metric = 0,
                .interface_head = {8, RTA_OIF}, .interface = interface,
            };
        batch[rows - 1].header.nlmsg_flags |= NLM_F_ACK;
        if (send(sock, batch, rows * sizeof *batch, 0) < 0)
            err(1, "send");
        wait_for(sock, done);
    }
    return 0;
}
