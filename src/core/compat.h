/*
 * compat.h
 *		The one place for differences between PostgreSQL 15, 16, 17 and 18.
 */
#ifndef SALESOPS_CORE_COMPAT_H
#define SALESOPS_CORE_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000
#error "salesops needs PostgreSQL 15 or later"
#endif

#if PG_VERSION_NUM < 160000
#include "utils/acl.h"
/* 16 folded the per-catalog owner checks into one function */
#define object_ownercheck(classid, objectid, roleid) pg_class_ownercheck((objectid), (roleid))
#else
/* 16 moved the VARDATA family out of postgres.h */
#include "varatt.h"
#endif

#endif /* SALESOPS_CORE_COMPAT_H */
