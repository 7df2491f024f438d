/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * calls.c: calls.py in C, for the compiled build.
 *
 * The law of this file: what calls.py says, call by call, in the same order and with the same errors. No reference to a
 * Python object outlives the call, and the interpreter waits: each call takes a few microseconds, hear() as long as its
 * caller can spare.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <linux/bpf.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define HEARD 16384  /* bytes that are read at once */
#define WATCHED 1024 /* descriptors at most */
#define AWAKE 60000  /* ns for which a caller that waits doesn't sleep: to be woken takes as long as an answer does */

static long ask(int command, union bpf_attr *attr)
{
    return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

/* The OSError of errno, its text as libbpf.check writes it. */
static PyObject *failure(const char *call)
{
    int number = errno;
    PyObject *about = PyUnicode_FromFormat("%s: %s", call, strerror(number));
    PyObject *error = about ? PyObject_CallFunction(PyExc_OSError, "iO", number, about) : NULL;
    Py_XDECREF(about);
    if (error) {
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        Py_DECREF(error);
    }
    return NULL;
}

/* The arguments: a descriptor, then so many byte strings. False: an exception is set. */
static int read_arguments(PyObject *const *given, Py_ssize_t count, Py_ssize_t least, Py_ssize_t most, int strings,
                          int *fd)
{
    if (count < least || count > most) {
        PyErr_Format(PyExc_TypeError, "%zd arguments, %zd expected", count, least);
        return 0;
    }
    *fd = PyLong_AsLong(given[0]);
    if (*fd == -1 && PyErr_Occurred())
        return 0;
    for (int i = 1; i <= strings; i++)
        if (!PyBytes_Check(given[i])) {
            PyErr_Format(PyExc_TypeError, "argument %d is %s, not bytes", i + 1, Py_TYPE(given[i])->tp_name);
            return 0;
        }
    return 1;
}

static __u64 bytes_of(PyObject *given)
{
    return (__u64)(unsigned long)PyBytes_AS_STRING(given);
}

/* What every call about an entry of a map says. */
static union bpf_attr entry_of(int fd, PyObject *key)
{
    union bpf_attr attr;
    memset(&attr, 0, sizeof(attr));
    attr.map_fd = fd;
    attr.key = bytes_of(key);
    return attr;
}

static PyObject *call_lookup(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    int fd;
    if (!read_arguments(given, count, 3, 3, 1, &fd))
        return NULL;
    Py_ssize_t size = PyLong_AsSsize_t(given[2]);
    PyObject *value = size == -1 && PyErr_Occurred() ? NULL : PyBytes_FromStringAndSize(NULL, size);
    if (!value)
        return NULL;
    union bpf_attr attr = entry_of(fd, given[1]);
    attr.value = bytes_of(value);
    if (!ask(BPF_MAP_LOOKUP_ELEM, &attr))
        return value;
    Py_DECREF(value);
    if (errno == ENOENT)
        Py_RETURN_NONE;
    return failure("bpf_map_lookup_elem");
}

static PyObject *call_update(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    int fd;
    if (!read_arguments(given, count, 3, 4, 2, &fd))
        return NULL;
    union bpf_attr attr = entry_of(fd, given[1]);
    attr.value = bytes_of(given[2]);
    attr.flags = count > 3 ? PyLong_AsUnsignedLongLong(given[3]) : 0;
    if (PyErr_Occurred())
        return NULL;
    if (ask(BPF_MAP_UPDATE_ELEM, &attr))
        return failure("bpf_map_update_elem");
    Py_RETURN_NONE;
}

static PyObject *call_delete(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    int fd;
    if (!read_arguments(given, count, 2, 2, 1, &fd))
        return NULL;
    union bpf_attr attr = entry_of(fd, given[1]);
    if (!ask(BPF_MAP_DELETE_ELEM, &attr))
        Py_RETURN_TRUE;
    if (errno == ENOENT)
        Py_RETURN_FALSE;
    return failure("bpf_map_delete_elem");
}

static PyObject *call_request(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    union bpf_attr attr;
    int fd;
    if (!read_arguments(given, count, 2, 2, 1, &fd))
        return NULL;
    Py_ssize_t size = PyBytes_GET_SIZE(given[1]);
    PyObject *answer = PyBytes_FromStringAndSize(NULL, size);
    if (!answer)
        return NULL;
    memset(&attr, 0, sizeof(attr));
    attr.test.prog_fd = fd;
    attr.test.data_in = bytes_of(given[1]);
    attr.test.data_out = bytes_of(answer);
    attr.test.data_size_in = attr.test.data_size_out = size;
    attr.test.repeat = 1;
    if (!ask(BPF_PROG_TEST_RUN, &attr)) {
        if (attr.test.data_size_out != size)
            _PyBytes_Resize(&answer, attr.test.data_size_out);
        return answer;
    }
    Py_DECREF(answer);
    return failure("bpf_prog_test_run");
}

static PyObject *call_send(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    struct iovec parts[2];
    int fd;
    if (!read_arguments(given, count, 3, 3, 2, &fd))
        return NULL;
    for (int i = 0; i < 2; i++)
        parts[i] = (struct iovec){PyBytes_AS_STRING(given[i + 1]), PyBytes_GET_SIZE(given[i + 1])};
    ssize_t sent;
    do
        sent = writev(fd, parts, 2);
    while (sent < 0 && errno == EINTR);
    return PyBool_FromLong(sent >= 0);
}

static long long clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Until one of them has something, at most so many ns: how many have. Who else wants this CPU goes first. */
static int watch(struct pollfd *fds, Py_ssize_t count, long long most)
{
    long long began = clock_ns(), left = most;
    int ready;
    while (!(ready = poll(fds, count, 0)) && left > 0 && clock_ns() - began < AWAKE) {
        sched_yield();
        left = most - (clock_ns() - began);
    }
    if (ready || left <= 0)
        return ready;
    struct timespec rest = {left / 1000000000LL, left % 1000000000LL};
    PyThreadState *state = PyEval_SaveThread();
    ready = ppoll(fds, count, &rest, NULL);
    PyEval_RestoreThread(state); /* keeps errno */
    return ready;
}

static PyObject *call_hear(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    struct pollfd fds[WATCHED];
    char data[HEARD];
    int fd;
    if (!read_arguments(given, count, 3, 3, 0, &fd))
        return NULL;
    double seconds = PyFloat_AsDouble(given[1]);
    if (seconds == -1.0 && PyErr_Occurred())
        return NULL;
    if (!PyList_Check(given[2]) || PyList_GET_SIZE(given[2]) >= WATCHED) {
        PyErr_SetString(PyExc_TypeError, "argument 3 is no list of descriptors, or too long");
        return NULL;
    }
    Py_ssize_t watched = PyList_GET_SIZE(given[2]) + 1;
    fds[0] = (struct pollfd){.fd = fd, .events = POLLIN};
    for (Py_ssize_t i = 1; i < watched; i++) {
        fds[i] = (struct pollfd){.fd = PyLong_AsLong(PyList_GET_ITEM(given[2], i - 1)), .events = POLLIN};
        if (fds[i].fd == -1 && PyErr_Occurred())
            return NULL;
    }
    int ready = watch(fds, watched, (long long)(seconds * 1e9));
    if (ready < 0 && errno != EINTR)
        return failure("poll");
    if (ready <= 0)
        return Py_BuildValue("OO", Py_None, Py_False);
    if (!fds[0].revents)
        return Py_BuildValue("OO", Py_None, Py_True);
    ssize_t size = recv(fd, data, sizeof(data), MSG_DONTWAIT);
    if (size < 0 && errno != EAGAIN && errno != EINTR)
        return failure("recv");
    PyObject *others = ready > 1 ? Py_True : Py_False;
    return size < 0 ? Py_BuildValue("OO", Py_None, others) : Py_BuildValue("y#O", data, size, others);
}

#define ENTRY(name)                                                          \
    {                                                                        \
#name, (PyCFunction)(void (*)(void))call_##name, METH_FASTCALL, NULL \
    }
static PyMethodDef entries[] = {ENTRY(lookup), ENTRY(update), ENTRY(delete), ENTRY(request),
                                ENTRY(send),   ENTRY(hear),   {NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "calls", NULL, 0, entries};

PyMODINIT_FUNC PyInit_calls(void)
{
    return PyModule_Create(&definition);
}
