/*
 * phone_module.cpp
 *		libphonenumber behind a C function, in a module of its own (salesops_phone): who never normalises a phone number never
 *		loads C++. Every exception ends here, and nothing of the server is called while C++ objects live.
 */
#include <cstring>
#include <string>

#include <phonenumbers/phonenumberutil.h>

extern "C"
{
#include "postgres.h"

#include "fmgr.h"

#include "text/phone_module.h"

	PG_MODULE_MAGIC;

	PGDLLEXPORT PhoneResult salesops_phone_e164(const char *number, size_t size, const char *region, char *out,
												size_t out_size);
}

using i18n::phonenumbers::PhoneNumber;
using i18n::phonenumbers::PhoneNumberUtil;

/* True where the library knows a region; "ZZ" is its own word for none. */
static bool
region_exists(const PhoneNumberUtil &util, const char *region)
{
	return util.GetCountryCodeForRegion(region) != 0;
}

/* The number in E.164, as phone_module.h says. An extension is left out: E.164 has none. */
static PhoneResult
e164(const char *number, size_t size, const char *region, char *out, size_t out_size)
{
	const PhoneNumberUtil &util = *PhoneNumberUtil::GetInstance();
	PhoneNumber parsed;
	std::string formatted;

	if (region != nullptr && !region_exists(util, region))
		return PHONE_NO_REGION;
	if (util.Parse(std::string(number, size), region != nullptr ? region : "ZZ", &parsed) !=
		PhoneNumberUtil::NO_PARSING_ERROR)
		return PHONE_NONE;
	if (!util.IsValidNumber(parsed))
		return PHONE_NONE;
	util.Format(parsed, PhoneNumberUtil::E164, &formatted);
	if (formatted.size() >= out_size)
		return PHONE_FAILED;
	std::memcpy(out, formatted.c_str(), formatted.size() + 1);
	return PHONE_OK;
}

/* The door: nothing thrown inside gets out. */
PhoneResult
salesops_phone_e164(const char *number, size_t size, const char *region, char *out, size_t out_size)
{
	try
	{
		return e164(number, size, region, out, out_size);
	}
	catch (...)
	{
		return PHONE_FAILED;
	}
}
