/*
 * phone_module.h
 *		The C interface of salesops_phone, the module that holds libphonenumber (C++). No exception crosses it.
 */
#ifndef SALESOPS_TEXT_PHONE_MODULE_H
#define SALESOPS_TEXT_PHONE_MODULE_H

#include <stddef.h>

/* "+" and 15 digits are E.164's most; libphonenumber lets through 17 */
#define PHONE_E164_BYTES 32

typedef enum PhoneResult
{
	PHONE_OK,
	PHONE_NONE, /* not a valid number of any region, or of the one given */
	PHONE_NO_REGION, /* the region does not exist */
	PHONE_FAILED /* out of memory, or an exception inside the library */
} PhoneResult;

/*
 * Write the E.164 form of UTF-8 text as a C string into out. region is two capital letters, or NULL for numbers with a
 * country code only.
 */
typedef PhoneResult (*PhoneE164)(const char *number, size_t size, const char *region, char *out, size_t out_size);

#endif /* SALESOPS_TEXT_PHONE_MODULE_H */
