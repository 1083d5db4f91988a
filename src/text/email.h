/*
 * email.h
 *		Taking e-mail addresses, web addresses and host names apart. ASCII throughout: fold_pg.c and normalize_pg.c bring the
 *		rest into that form.
 */
#ifndef SALESOPS_TEXT_EMAIL_H
#define SALESOPS_TEXT_EMAIL_H

#include "core/kernel.h"

/* Limits of RFC 5321, in octets */
#define TEXT_LOCAL_MAX 64
#define TEXT_DOMAIN_MAX 253

/* A stretch of the caller's bytes; NULL where there is none. */
typedef struct TextSpan
{
	const char *bytes;
	size_t length;
} TextSpan;

/* The address inside "mailto:a@b", "Name <a@b>" or plain "a@b", without blanks around it. */
extern TextSpan text_email_address(TextSpan text);

/* Split an address at its last @; false where a part is missing or the local part is none that could be delivered to. */
extern bool text_email_split(TextSpan address, TextSpan *local, TextSpan *domain);

/* The host of a web address, an e-mail address or a bare host name: no scheme, user, port, path or final dot. */
extern TextSpan text_host(TextSpan text);

/* True where a lower-case host is a domain name: at least two labels of letters, digits and hyphens, the last no number. */
extern bool text_domain_is_valid(TextSpan domain);

/*
 * What mailbox a lower-case address means: sub-addresses (a+b, RFC 5233) go, and what the provider ignores goes with them
 * (Gmail's dots), other names of the same provider become its first. Rewrites local in place and points domain to a constant
 * where it has another name. Returns the new length of local.
 */
extern size_t text_email_canonical(char *local, size_t length, TextSpan *domain);

/* True where a registrable domain gives mailboxes to anyone. */
extern bool text_is_free_mail(TextSpan domain);

#endif /* SALESOPS_TEXT_EMAIL_H */
