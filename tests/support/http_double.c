/* SPDX-License-Identifier: Apache-2.0 */
/* A scripted server on a thread of its own, with blocking sockets. */
#include "http_double.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"

#define HEAD_MAX   8192
#define ANSWER_MAX 1024
#define NONE       "HTTP/1.1 500 No More Answers\r\nContent-Length: 0\r\n\r\n"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char answers[HTTP_DOUBLE_MAX][ANSWER_MAX];
static char heads[HTTP_DOUBLE_MAX][HEAD_MAX];
static size_t answer_count, seen;
static int listener = -1;
static pthread_t thread;

/* Read one head into `head`, and its body into nothing. */
static bool
read_request(int fd, char *head)
{
	char piece[65536];
	const char *field;
	size_t len = 0, body = 0;

	while (len == 0 || strstr(head, "\r\n\r\n") == NULL) {
		if (len + 1 == HEAD_MAX || recv(fd, head + len, 1, 0) != 1)
			return false;
		head[++len] = '\0';
	}
	field = strcasestr(head, "\r\ncontent-length: ");
	if (field != NULL)
		body = strtoul(field + 18, NULL, 10);
	if (strcasestr(head, "100-continue") != NULL)
		send(fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL);
	while (body > 0) {
		ssize_t n = recv(
		    fd, piece, body < sizeof(piece) ? body : sizeof(piece), 0);

		if (n <= 0)
			return false;
		body -= (size_t)n;
	}
	return true;
}

static void
next_answer(const char *head, char answer[ANSWER_MAX])
{
	pthread_mutex_lock(&lock);
	if (seen < HTTP_DOUBLE_MAX)
		memcpy(heads[seen], head, HEAD_MAX);
	strcpy(answer, seen < answer_count ? answers[seen] : NONE);
	seen++;
	pthread_mutex_unlock(&lock);
}

/* False when the connection is over. */
static bool
give(int fd, const char *answer)
{
	size_t len = strlen(answer), tail = strlen(HTTP_DOUBLE_CLOSE);
	bool last =
	    len >= tail && strcmp(answer + len - tail, HTTP_DOUBLE_CLOSE) == 0;
	char byte;

	if (strcmp(answer, HTTP_DOUBLE_HANG) == 0) {
		while (recv(fd, &byte, 1, 0) > 0)
			;
		return false;
	}
	send(fd, answer, last ? len - tail : len, MSG_NOSIGNAL);
	return !last;
}

static void *
serve(void *arg)
{
	static char head[HEAD_MAX], answer[ANSWER_MAX];

	for (;;) {
		int fd = accept(listener, NULL, NULL);
		bool more = true;

		if (fd < 0)
			return arg;
		while (more && read_request(fd, head)) {
			next_answer(head, answer);
			more = give(fd, answer);
		}
		close(fd);
	}
}

int
http_double_start(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	socklen_t size = sizeof(to);

	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(listener, (struct sockaddr *)&to, size) != 0 ||
	    listen(listener, 16) != 0 ||
	    getsockname(listener, (struct sockaddr *)&to, &size) != 0)
		panic("no port for a double");
	pthread_create(&thread, NULL, serve, NULL);
	return ntohs(to.sin_port);
}

void
http_double_answers(const char *const list[], size_t count)
{
	must(count <= HTTP_DOUBLE_MAX);
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < count; i++) {
		must(strlen(list[i]) < ANSWER_MAX);
		strcpy(answers[i], list[i]);
	}
	answer_count = count;
	seen = 0;
	pthread_mutex_unlock(&lock);
}

size_t
http_double_seen(void)
{
	size_t n;

	pthread_mutex_lock(&lock);
	n = seen;
	pthread_mutex_unlock(&lock);
	return n;
}

const char *
http_double_head(size_t i)
{
	return i < http_double_seen() && i < HTTP_DOUBLE_MAX ? heads[i] : "";
}

void
http_double_stop(void)
{
	shutdown(listener, SHUT_RDWR);
	close(listener);
	pthread_join(thread, NULL);
}
