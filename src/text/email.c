/*
 * email.c
 *		E-mail addresses, hosts and free-mail providers (email.h). Registrable domains are libpsl's business, not ours.
 */
#include <string.h>

#include "text/email.h"

/* True for a blank or control character. */
static inline bool
is_blank(char c)
{
	return (unsigned char) c <= ' ' || c == 0x7F;
}

/* Without blanks at either end. */
static TextSpan
trim(TextSpan text)
{
	while (text.length > 0 && is_blank(text.bytes[0]))
	{
		text.bytes++;
		text.length--;
	}
	while (text.length > 0 && is_blank(text.bytes[text.length - 1]))
		text.length--;
	return text;
}

/* Drop a prefix, in any case; the prefix is in lower case. */
static TextSpan
drop_prefix(TextSpan text, const char *prefix)
{
	size_t length = strlen(prefix);

	if (text.length < length)
		return text;
	for (size_t i = 0; i < length; i++)
		if ((text.bytes[i] | 0x20) != (prefix[i] | 0x20))
			return text;
	text.bytes += length;
	text.length -= length;
	return text;
}

/* The last place of a character, or length. */
static size_t
last_of(TextSpan text, char c)
{
	for (size_t i = text.length; i > 0; i--)
		if (text.bytes[i - 1] == c)
			return i - 1;
	return text.length;
}

/* The first place of any of some characters, or length. */
static size_t
first_of(TextSpan text, const char *set)
{
	for (size_t i = 0; i < text.length; i++)
		if (text.bytes[i] != '\0' && strchr(set, text.bytes[i]) != NULL)
			return i;
	return text.length;
}

/* The address in what people write. */
TextSpan
text_email_address(TextSpan text)
{
	size_t open;

	text = trim(text);
	if (text.length > 0 && text.bytes[text.length - 1] == '>' && (open = last_of(text, '<')) < text.length)
	{
		text.bytes += open + 1;
		text.length -= open + 2;
	}
	return trim(drop_prefix(trim(text), "mailto:"));
}

/* Split an address. Quoted local parts are refused: what they mean is the receiving server's secret. */
bool
text_email_split(TextSpan address, TextSpan *local, TextSpan *domain)
{
	size_t at = last_of(address, '@');

	if (at == 0 || at >= address.length)
		return false;
	local->bytes = address.bytes;
	local->length = at;
	domain->bytes = address.bytes + at + 1;
	domain->length = address.length - at - 1;
	if (domain->length > 0 && domain->bytes[domain->length - 1] == '.')
		domain->length--;
	if (local->length > TEXT_LOCAL_MAX || domain->length == 0)
		return false;
	for (size_t i = 0; i < local->length; i++)
		if (is_blank(local->bytes[i]) || strchr("\"(),:;<>@[\\]", local->bytes[i]) != NULL)
			return false;
	return true;
}

/* The host of an address of any kind. */
TextSpan
text_host(TextSpan text)
{
	size_t scheme;
	size_t end;

	text = trim(text);
	if (text.length > 0 && text.bytes[text.length - 1] == '>')
		text = text_email_address(text);
	text = drop_prefix(text, "mailto:");
	scheme = first_of(text, ":/?#@");
	if (scheme + 3 <= text.length && memcmp(text.bytes + scheme, "://", 3) == 0)
	{
		text.bytes += scheme + 3;
		text.length -= scheme + 3;
	}
	text = drop_prefix(text, "//");
	text.length = first_of(text, "/?#\\");
	end = last_of(text, '@');
	if (end < text.length)
	{
		text.bytes += end + 1;
		text.length -= end + 1;
	}
	text.length = first_of(text, ":");
	if (text.length > 0 && text.bytes[text.length - 1] == '.')
		text.length--;
	return text;
}

/* True for a domain name. */
bool
text_domain_is_valid(TextSpan domain)
{
	size_t label = 0;
	size_t labels = 0;
	bool number = true;

	if (domain.length == 0 || domain.length > TEXT_DOMAIN_MAX)
		return false;
	for (size_t i = 0; i <= domain.length; i++)
	{
		char c = i < domain.length ? domain.bytes[i] : '.';

		if (c == '.')
		{
			if (label == 0 || label > 63 || domain.bytes[i - 1] == '-' || domain.bytes[i - label] == '-')
				return false;
			labels++;
			label = 0;
			if (i < domain.length)
				number = true;
			continue;
		}
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
			return false;
		number = number && c >= '0' && c <= '9';
		label++;
	}
	return labels >= 2 && !number;
}

/* A provider that reads several addresses as one mailbox. */
typedef struct Provider
{
	const char *domain;
	const char *canonical;
	bool ignores_dots;
} Provider;

static const Provider providers[] = {
	{"gmail.com", "gmail.com", true},       {"googlemail.com", "gmail.com", true}, {"proton.me", "proton.me", false},
	{"protonmail.com", "proton.me", false}, {"protonmail.ch", "proton.me", false}, {"pm.me", "proton.me", false},
	{"yandex.ru", "yandex.ru", false},      {"ya.ru", "yandex.ru", false},         {"yandex.com", "yandex.ru", false},
	{"yandex.by", "yandex.ru", false},      {"yandex.kz", "yandex.ru", false},     {"yandex.ua", "yandex.ru", false},
	{"mac.com", "icloud.com", false},       {"me.com", "icloud.com", false},
};

/* True where a span is this text. */
static bool
span_is(TextSpan span, const char *text)
{
	return strlen(text) == span.length && memcmp(span.bytes, text, span.length) == 0;
}

/* What mailbox an address means. */
size_t
text_email_canonical(char *local, size_t length, TextSpan *domain)
{
	const char *plus = length > 1 ? memchr(local + 1, '+', length - 1) : NULL;
	size_t kept = 0;

	if (plus != NULL)
		length = (size_t) (plus - local);
	for (size_t i = 0; i < sizeof(providers) / sizeof(providers[0]); i++)
	{
		if (!span_is(*domain, providers[i].domain))
			continue;
		domain->bytes = providers[i].canonical;
		domain->length = strlen(providers[i].canonical);
		if (!providers[i].ignores_dots)
			return length;
		for (size_t k = 0; k < length; k++)
			if (local[k] != '.')
				local[kept++] = local[k];
		return kept;
	}
	return length;
}

/* Registrable domains of providers that anyone can have a mailbox at, in the order of strcmp. */
static const char *const free_mail[] = {
	"126.com",         "163.com",         "1und1.de",       "21cn.com",       "abv.bg",
	"aim.com",         "alice.it",        "aliyun.com",     "aol.co.uk",      "aol.com",
	"aol.de",          "aol.fr",          "arcor.de",       "att.net",        "azet.sk",
	"bellsouth.net",   "bigpond.com",     "bk.ru",          "bluewin.ch",     "blueyonder.co.uk",
	"bol.com.br",      "btinternet.com",  "cantv.net",      "caramail.com",   "centrum.cz",
	"charter.net",     "citromail.hu",    "comcast.net",    "cox.net",        "daum.net",
	"docomo.ne.jp",    "earthlink.net",   "email.com",      "email.cz",       "email.it",
	"ezweb.ne.jp",     "fastmail.com",    "fastmail.fm",    "foxmail.com",    "free.fr",
	"freemail.hu",     "freenet.de",      "frontier.com",   "gmail.com",      "gmx.at",
	"gmx.ch",          "gmx.com",         "gmx.de",         "gmx.net",        "go.com",
	"googlemail.com",  "hanmail.net",     "hey.com",        "home.nl",        "hotmail.be",
	"hotmail.ca",      "hotmail.ch",      "hotmail.cl",     "hotmail.co.jp",  "hotmail.co.uk",
	"hotmail.com",     "hotmail.com.ar",  "hotmail.com.br", "hotmail.com.tr", "hotmail.de",
	"hotmail.es",      "hotmail.fr",      "hotmail.gr",     "hotmail.it",     "hotmail.nl",
	"hotmail.se",      "hushmail.com",    "i.ua",           "icloud.com",     "ig.com.br",
	"inbox.lv",        "inbox.ru",        "interia.pl",     "juno.com",       "keemail.me",
	"kpnmail.nl",      "laposte.net",     "libero.it",      "list.ru",        "live.at",
	"live.be",         "live.ca",         "live.cl",        "live.cn",        "live.co.uk",
	"live.com",        "live.com.ar",     "live.com.au",    "live.com.mx",    "live.com.pt",
	"live.de",         "live.dk",         "live.fi",        "live.fr",        "live.ie",
	"live.in",         "live.it",         "live.jp",        "live.nl",        "live.no",
	"live.se",         "lycos.com",       "mac.com",        "mail.bg",        "mail.com",
	"mail.de",         "mail.ee",         "mail.ru",        "mail.ua",        "mailbox.org",
	"mailfence.com",   "mailinator.com",  "me.com",         "meta.ua",        "msn.com",
	"mynet.com",       "nate.com",        "naver.com",      "netscape.net",   "netzero.net",
	"ntlworld.com",    "o2.pl",           "onet.eu",        "onet.pl",        "op.pl",
	"optonline.net",   "optusnet.com.au", "orange.fr",      "outlook.at",     "outlook.be",
	"outlook.cl",      "outlook.co.id",   "outlook.com",    "outlook.com.ar", "outlook.com.au",
	"outlook.com.br",  "outlook.com.gr",  "outlook.com.tr", "outlook.cz",     "outlook.de",
	"outlook.dk",      "outlook.es",      "outlook.fr",     "outlook.ie",     "outlook.in",
	"outlook.it",      "outlook.jp",      "outlook.kr",     "outlook.pt",     "outlook.sa",
	"outlook.sg",      "passport.com",    "pm.me",          "pobox.com",      "poczta.fm",
	"posteo.de",       "posteo.net",      "proton.me",      "protonmail.ch",  "protonmail.com",
	"qq.com",          "rambler.ru",      "rediffmail.com", "rocketmail.com", "rogers.com",
	"runbox.com",      "sapo.pt",         "sbcglobal.net",  "seznam.cz",      "sfr.fr",
	"shaw.ca",         "sina.cn",         "sina.com",       "sky.com",        "skynet.be",
	"softbank.ne.jp",  "sohu.com",        "startmail.com",  "sympatico.ca",   "t-online.de",
	"talktalk.net",    "telenet.be",      "telus.net",      "terra.com.br",   "tin.it",
	"tiscali.co.uk",   "tiscali.it",      "tlen.pl",        "tuta.com",       "tuta.io",
	"tutamail.com",    "tutanota.com",    "tutanota.de",    "ukr.net",        "uol.com.br",
	"usa.net",         "verizon.net",     "videotron.ca",   "virgilio.it",    "virginmedia.com",
	"voila.fr",        "volny.cz",        "walla.co.il",    "wanadoo.fr",     "web.de",
	"windowslive.com", "wp.pl",           "xs4all.nl",      "xtra.co.nz",     "ya.ru",
	"yahoo.at",        "yahoo.be",        "yahoo.ca",       "yahoo.cl",       "yahoo.cn",
	"yahoo.co.id",     "yahoo.co.in",     "yahoo.co.jp",    "yahoo.co.kr",    "yahoo.co.nz",
	"yahoo.co.th",     "yahoo.co.uk",     "yahoo.co.za",    "yahoo.com",      "yahoo.com.ar",
	"yahoo.com.au",    "yahoo.com.br",    "yahoo.com.cn",   "yahoo.com.co",   "yahoo.com.hk",
	"yahoo.com.mx",    "yahoo.com.my",    "yahoo.com.ph",   "yahoo.com.sg",   "yahoo.com.tr",
	"yahoo.com.tw",    "yahoo.com.vn",    "yahoo.de",       "yahoo.dk",       "yahoo.es",
	"yahoo.fi",        "yahoo.fr",        "yahoo.gr",       "yahoo.hu",       "yahoo.ie",
	"yahoo.in",        "yahoo.it",        "yahoo.nl",       "yahoo.no",       "yahoo.pl",
	"yahoo.pt",        "yahoo.ro",        "yahoo.se",       "yandex.by",      "yandex.com",
	"yandex.kz",       "yandex.ru",       "yandex.ua",      "yeah.net",       "ymail.com",
	"ziggo.nl",        "zoho.com",        "zohomail.com",   "zoznam.sk",
};

/* True where a registrable domain gives mailboxes to anyone: binary search. */
bool
text_is_free_mail(TextSpan domain)
{
	size_t low = 0;
	size_t high = sizeof(free_mail) / sizeof(free_mail[0]);

	while (low < high)
	{
		size_t middle = (low + high) / 2;
		size_t length = strlen(free_mail[middle]);
		int order = memcmp(domain.bytes, free_mail[middle], domain.length < length ? domain.length : length);

		if (order == 0)
			order = domain.length < length ? -1 : domain.length > length;
		if (order == 0)
			return true;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return false;
}
