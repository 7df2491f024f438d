/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * digest.c: digest.py in C, for the compiled build.
 *
 * The law of this file: what digest.py says, function by function. Python's numbers have no bound, so there a word of 64
 * bits takes ten objects.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define STEP 0x9E3779B97F4A7C15ULL
#define LAST 0xD6E8FEB86659FD93ULL
#define ONES 0xFFFF

/* So many arguments, of which those from `first` on are byte strings, `strings` of them. False: an exception is set. */
static int are_sound(PyObject *const *given, Py_ssize_t count, Py_ssize_t wanted, int first, int strings)
{
    if (count != wanted) {
        PyErr_Format(PyExc_TypeError, "%zd arguments, %zd expected", count, wanted);
        return 0;
    }
    for (int i = first; i < first + strings; i++)
        if (!PyBytes_Check(given[i])) {
            PyErr_Format(PyExc_TypeError, "argument %d is %s, not bytes", i + 1, Py_TYPE(given[i])->tp_name);
            return 0;
        }
    return 1;
}

static uint64_t hash(uint64_t h, PyObject *payload)
{
    const unsigned char *at = (const unsigned char *)PyBytes_AS_STRING(payload);
    Py_ssize_t size = PyBytes_GET_SIZE(payload);
    for (Py_ssize_t left = size; left > 0; left -= 8, at += 8) {
        uint64_t word = 0;
        if (left >= 8)
            memcpy(&word, at, 8);
        else
            memcpy(&word, at, left);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        word = __builtin_bswap64(word);
#endif
        h = (h ^ word) * STEP;
        h ^= h >> 32;
    }
    h = (h ^ (uint64_t)size) * LAST;
    return h ^ h >> 32;
}

/* The remainder by ONES of bytes as one large number, the last or the first of them counting least. */
static uint64_t remainder_of(const unsigned char *data, Py_ssize_t size, int last_is_least)
{
    uint64_t even = 0, odd = 0;
    for (Py_ssize_t i = 0; i < size; i++)
        if (i & 1)
            odd += data[i];
        else
            even += data[i];
    if (last_is_least && !(size & 1))
        return ((even << 8) + odd) % ONES;
    return (even + (odd << 8)) % ONES;
}

static uint64_t change(PyObject *old, PyObject *new)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    int last_is_least = 1;
#else
    int last_is_least = 0;
#endif
    uint64_t gone = remainder_of((unsigned char *)PyBytes_AS_STRING(old), PyBytes_GET_SIZE(old), last_is_least);
    uint64_t come = remainder_of((unsigned char *)PyBytes_AS_STRING(new), PyBytes_GET_SIZE(new), last_is_least);
    return (come + ONES - gone) % ONES;
}

static int read_secret(PyObject *given, uint64_t *secret)
{
    *secret = PyLong_AsUnsignedLongLong(given);
    return !(*secret == (uint64_t)-1 && PyErr_Occurred());
}

static PyObject *call_digest(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    uint64_t secret;
    if (!are_sound(given, count, 2, 1, 1) || !read_secret(given[0], &secret))
        return NULL;
    return PyLong_FromUnsignedLongLong(hash(secret, given[1]));
}

static PyObject *call_replacement(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    uint64_t secret;
    if (!are_sound(given, count, 3, 1, 2) || !read_secret(given[0], &secret))
        return NULL;
    unsigned long long proof = hash(secret, given[1]), gained = change(given[1], given[2]);
    return Py_BuildValue("KK", proof, gained);
}

static PyObject *call_sum_change(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    if (!are_sound(given, count, 2, 0, 2))
        return NULL;
    return PyLong_FromUnsignedLongLong(change(given[0], given[1]));
}

static PyObject *call_summed(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    if (!are_sound(given, count, 3, 0, 1))
        return NULL;
    Py_ssize_t start = PyLong_AsSsize_t(given[1]), stop = PyLong_AsSsize_t(given[2]);
    if ((start == -1 || stop == -1) && PyErr_Occurred())
        return NULL;
    stop = PySlice_AdjustIndices(PyBytes_GET_SIZE(given[0]), &start, &stop, 1);
    const unsigned char *data = (const unsigned char *)PyBytes_AS_STRING(given[0]) + start;
    uint64_t rest = remainder_of(data, stop, 1);
    return PyLong_FromUnsignedLongLong(stop & 1 ? (rest << 8) % ONES : rest);
}

#define ENTRY(name)                                                          \
    {                                                                        \
#name, (PyCFunction)(void (*)(void))call_##name, METH_FASTCALL, NULL \
    }
static PyMethodDef entries[] = {ENTRY(digest), ENTRY(replacement), ENTRY(sum_change), ENTRY(summed), {NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "digest", NULL, 0, entries};

PyMODINIT_FUNC PyInit_digest(void)
{
    return PyModule_Create(&definition);
}
