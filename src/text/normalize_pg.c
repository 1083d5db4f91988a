/*
 * normalize_pg.c
 *		SQL's doors to normalisation: names, companies, e-mail, domains, phone numbers. ICU, libpsl and libphonenumber do the
 *		work; here are the server's encoding, limits and errors.
 *
 * The results depend on the data inside those libraries, so an upgrade of one can change them: doc/text.md says what that
 * means for an index.
 */
#include "postgres.h"

#include <libpsl.h>
#include <signal.h>
#include <unicode/uidna.h>
#include <unicode/unorm2.h>
#include <unicode/ustring.h>

#include "fmgr.h"
#include "libpq/pqsignal.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "core/compat.h"
#include "text/codepoints.h"
#include "text/company.h"
#include "text/email.h"
#include "text/fold_pg.h"
#include "text/phone_module.h"
#include "text/text_pg.h"

/* Longer input is no address: 64 + 1 + 253 octets, a display name, and room for blanks */
#define ADDRESS_BYTES 4096
/* The longest of numbers that people write has fewer characters; libphonenumber itself stops at 250 */
#define PHONE_BYTES 512

/* A value in UTF-8; it may point into the argument. */
typedef struct Utf8
{
	const char *bytes;
	size_t size;
} Utf8;

/* A text argument in UTF-8. The bytes of SQL_ASCII beyond ASCII have no meaning that could be normalised. */
static Utf8
utf8_argument(const text *value, const char *function)
{
	Utf8 utf8 = {VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)};

	if (GetDatabaseEncoding() == PG_UTF8 || text_is_ascii(utf8.bytes, utf8.size))
		return utf8;
	if (GetDatabaseEncoding() == PG_SQL_ASCII)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s() cannot read characters beyond ASCII in a database with encoding SQL_ASCII", function),
				 errdetail("SQL_ASCII does not say which characters these bytes are."),
				 errhint("Use a database with encoding UTF8.")));
	utf8.bytes = pg_server_to_any(utf8.bytes, (int) utf8.size, PG_UTF8);
	utf8.size = strlen(utf8.bytes);
	return utf8;
}

/* UTF-8 as a text value in the server's encoding. */
static text *
utf8_result(const char *bytes, size_t size)
{
	const char *converted;

	if (GetDatabaseEncoding() == PG_UTF8 || text_is_ascii(bytes, size))
		return cstring_to_text_with_len(bytes, (int) size);
	converted = pg_any_to_server(bytes, (int) size, PG_UTF8);
	return converted == bytes ? cstring_to_text_with_len(bytes, (int) size) : cstring_to_text(converted);
}

/* Fold an argument into a fresh buffer. */
static void
fold_argument(const text *value, const char *function, bool ampersand, StringInfo out)
{
	Utf8 utf8 = utf8_argument(value, function);

	initStringInfo(out);
	text_fold_pg(utf8.bytes, utf8.size, ampersand, out);
}

/* normalize_name for C callers. */
text *
text_normalize_name_pg(const text *value)
{
	StringInfoData folded;

	fold_argument(value, "normalize_name", false, &folded);
	return utf8_result(folded.data, folded.len);
}

/* normalize_company for C callers. */
text *
text_normalize_company_pg(const text *value)
{
	StringInfoData folded;

	fold_argument(value, "normalize_company", true, &folded);
	return utf8_result(folded.data, text_company_strip(folded.data, folded.len));
}

PG_FUNCTION_INFO_V1(salesops_normalize_name);
/* normalize_name(text): lower-case Latin words without marks or punctuation, from any script; '' where nothing is left. */
Datum
salesops_normalize_name(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(text_normalize_name_pg(PG_GETARG_TEXT_PP(0)));
}

PG_FUNCTION_INFO_V1(salesops_normalize_company);
/* normalize_company(text): as normalize_name, & as "and", without legal forms and a leading "the". */
Datum
salesops_normalize_company(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(text_normalize_company_pg(PG_GETARG_TEXT_PP(0)));
}

/*
 * Compatibility forms and case of a short string: fullwidth letters, capitals of any script, invisible characters. Returns
 * NULL where it does not fit: then it is no address.
 */
static char *
casefold(Utf8 utf8, size_t *size)
{
	UErrorCode status = U_ZERO_ERROR;
	const UNormalizer2 *normalizer = unorm2_getNFKCCasefoldInstance(&status);
	UChar units[ADDRESS_BYTES];
	UChar folded[ADDRESS_BYTES];
	char *result = palloc(ADDRESS_BYTES * 3 + 1);
	int32_t length;
	int32_t bytes;

	u_strFromUTF8WithSub(units, ADDRESS_BYTES, &length, utf8.bytes, (int32_t) utf8.size, 0xFFFD, NULL, &status);
	length = unorm2_normalize(normalizer, units, length, folded, ADDRESS_BYTES, &status);
	u_strToUTF8WithSub(result, ADDRESS_BYTES * 3, &bytes, folded, length, '?', NULL, &status);
	if (U_FAILURE(status))
		return NULL;
	*size = (size_t) bytes;
	return result;
}

/* A short argument with case folded, as a span; false where it is too long to be an address. */
static bool
address_argument(const text *value, const char *function, TextSpan *span)
{
	Utf8 utf8;
	char *lower;

	if (VARSIZE_ANY_EXHDR(value) > ADDRESS_BYTES)
		return false;
	utf8 = utf8_argument(value, function);
	if (utf8.size > ADDRESS_BYTES)
		return false;
	if (!text_is_ascii(utf8.bytes, utf8.size))
	{
		span->bytes = casefold(utf8, &span->length);
		return span->bytes != NULL;
	}
	lower = palloc(utf8.size + 1);
	for (size_t i = 0; i < utf8.size; i++)
		lower[i] = (char) pg_ascii_tolower((unsigned char) utf8.bytes[i]);
	span->bytes = lower;
	span->length = utf8.size;
	return true;
}

/* A domain in the form that the DNS knows (UTS 46): ASCII, lower case; false where there is none. */
static bool
ascii_domain(TextSpan domain, TextSpan *result)
{
	static UIDNA *idna = NULL;
	UErrorCode status = U_ZERO_ERROR;
	UIDNAInfo info = UIDNA_INFO_INITIALIZER;
	char *ascii;
	int32_t length;

	if (text_is_ascii(domain.bytes, domain.length))
	{
		*result = domain;
		return text_domain_is_valid(domain);
	}
	if (domain.length > ADDRESS_BYTES / 4)
		return false;
	if (idna == NULL)
		idna = uidna_openUTS46(UIDNA_NONTRANSITIONAL_TO_ASCII | UIDNA_CHECK_BIDI, &status);
	ascii = palloc(ADDRESS_BYTES);
	length = uidna_nameToASCII_UTF8(idna, domain.bytes, (int32_t) domain.length, ascii, ADDRESS_BYTES, &info, &status);
	if (U_FAILURE(status) || info.errors != 0)
		return false;
	result->bytes = ascii;
	result->length = (size_t) length;
	return text_domain_is_valid(*result);
}

/* Split an argument into local part and DNS domain; false where it is no e-mail address. */
static bool
email_argument(const text *value, const char *function, TextSpan *local, TextSpan *domain)
{
	TextSpan span;
	TextSpan written;

	return address_argument(value, function, &span) && text_email_split(text_email_address(span), local, &written) &&
		   ascii_domain(written, domain);
}

PG_FUNCTION_INFO_V1(salesops_normalize_email);
/* normalize_email(text): the mailbox that an address means, in one spelling; NULL where it is no address. */
Datum
salesops_normalize_email(PG_FUNCTION_ARGS)
{
	TextSpan local;
	TextSpan domain;
	StringInfoData result;
	size_t length;

	if (!email_argument(PG_GETARG_TEXT_PP(0), "normalize_email", &local, &domain))
		PG_RETURN_NULL();
	initStringInfo(&result);
	appendBinaryStringInfo(&result, local.bytes, (int) local.length);
	length = text_email_canonical(result.data, local.length, &domain);
	if (length == 0)
		PG_RETURN_NULL();
	result.len = (int) length;
	appendStringInfoChar(&result, '@');
	appendBinaryStringInfo(&result, domain.bytes, (int) domain.length);
	PG_RETURN_TEXT_P(utf8_result(result.data, result.len));
}

/* The public suffix list that libpsl was built with; where it has none, the system's file. Kept for the backend's life. */
static const psl_ctx_t *
public_suffixes(void)
{
	static const psl_ctx_t *list = NULL;

	if (list == NULL)
		list = psl_builtin();
	if (list == NULL)
		list = psl_latest(NULL);
	if (list == NULL)
		ereport(ERROR, (errcode(ERRCODE_CONFIG_FILE_ERROR), errmsg("libpsl has no public suffix list"),
						errhint("Install the package publicsuffix.")));
	return list;
}

/* The part of a domain that its owner registered; false for a public suffix itself. */
static bool
registrable_domain(TextSpan domain, TextSpan *result)
{
	char *name = pnstrdup(domain.bytes, domain.length);
	const char *registrable = psl_registrable_domain(public_suffixes(), name);

	if (registrable == NULL)
		return false;
	result->bytes = registrable;
	result->length = strlen(registrable);
	return true;
}

PG_FUNCTION_INFO_V1(salesops_email_domain);
/* email_domain(text): the registrable domain of an e-mail address, free-mail providers too; NULL where it is no address. */
Datum
salesops_email_domain(PG_FUNCTION_ARGS)
{
	TextSpan local;
	TextSpan domain;

	if (!email_argument(PG_GETARG_TEXT_PP(0), "email_domain", &local, &domain) || !registrable_domain(domain, &domain))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text_with_len(domain.bytes, (int) domain.length));
}

PG_FUNCTION_INFO_V1(salesops_company_domain);
/*
 * company_domain(text): the registrable domain of an e-mail address, web address or host name; NULL for free-mail providers,
 * IP addresses and what is no domain.
 */
Datum
salesops_company_domain(PG_FUNCTION_ARGS)
{
	TextSpan span;
	TextSpan domain;

	if (!address_argument(PG_GETARG_TEXT_PP(0), "company_domain", &span) || !ascii_domain(text_host(span), &domain) ||
		!registrable_domain(domain, &domain) || text_is_free_mail(domain))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text_with_len(domain.bytes, (int) domain.length));
}

/*
 * The phone module, loaded on first use. Signals are blocked meanwhile: should the libraries it brings ever start a thread,
 * that thread inherits the mask, and the server's handlers keep running in the main thread only.
 */
static PhoneE164
phone_module(void)
{
	static PhoneE164 function = NULL;
	sigset_t blocked;
	sigset_t before;

	if (function != NULL)
		return function;
	sigfillset(&blocked);
	sigprocmask(SIG_SETMASK, &blocked, &before);
	PG_TRY();
	{
		function = (PhoneE164) load_external_function("$libdir/salesops_phone", "salesops_phone_e164", true, NULL);
		/* the first call reads the library's tables */
		(void) function("", 0, "US", NULL, 0);
	}
	PG_FINALLY();
	{
		sigprocmask(SIG_SETMASK, &before, NULL);
	}
	PG_END_TRY();
	return function;
}

/* The region argument, two letters in upper case; NULL where it is NULL. What is no region at all is an error. */
static const char *
region_argument(FunctionCallInfo fcinfo, char *region)
{
	const text *value;

	if (PG_ARGISNULL(1))
		return NULL;
	value = PG_GETARG_TEXT_PP(1);
	if (VARSIZE_ANY_EXHDR(value) != 2)
		return "";
	region[0] = (char) pg_ascii_toupper((unsigned char) VARDATA_ANY(value)[0]);
	region[1] = (char) pg_ascii_toupper((unsigned char) VARDATA_ANY(value)[1]);
	region[2] = '\0';
	return region;
}

PG_FUNCTION_INFO_V1(salesops_normalize_phone);
/*
 * normalize_phone(text, region): the number in E.164 (ITU-T), or NULL where it is no valid number. region is where numbers
 * without a country code are from, ISO 3166-1 alpha-2; NULL accepts numbers with a country code only.
 */
Datum
salesops_normalize_phone(PG_FUNCTION_ARGS)
{
	Utf8 utf8;
	const char *region;
	char two[3];
	char number[PHONE_E164_BYTES];

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	region = region_argument(fcinfo, two);
	utf8 = utf8_argument(PG_GETARG_TEXT_PP(0), "normalize_phone");
	switch (phone_module()(utf8.bytes, utf8.size > PHONE_BYTES ? 0 : utf8.size, region, number, sizeof(number)))
	{
		case PHONE_OK:
			PG_RETURN_TEXT_P(cstring_to_text(number));
		case PHONE_NONE:
			PG_RETURN_NULL();
		case PHONE_NO_REGION:
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("phone region \"%s\" does not exist", text_to_cstring(PG_GETARG_TEXT_PP(1))),
							errhint("Give the two letters of ISO 3166-1, such as US or DE; NULL accepts only numbers "
									"that begin with +.")));
		case PHONE_FAILED:
			break;
	}
	ereport(ERROR, (errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
					errmsg("libphonenumber failed on a number of %zu bytes", utf8.size)));
	PG_RETURN_NULL();
}
