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
/* … and the privilege checks */
#define function_aclcheck(objectid, roleid, mode) pg_proc_aclcheck((objectid), (roleid), (mode))
#else
/* 16 moved the VARDATA family out of postgres.h */
#include "varatt.h"
#include "catalog/pg_proc.h"
#define function_aclcheck(objectid, roleid, mode) object_aclcheck(ProcedureRelationId, (objectid), (roleid), (mode))
#endif

#if PG_VERSION_NUM < 170000
/* 17 asks whether a stronger lock counts too */
#define lock_held_by_me(tag, mode) LockHeldByMe((tag), (mode))
#else
#define lock_held_by_me(tag, mode) LockHeldByMe((tag), (mode), false)
#endif

/* Background workers may connect as a role without LOGIN only where the server knows how to be asked for it */
#ifdef BGWORKER_BYPASS_ROLELOGINCHECK
#define WORKER_CONNECT_FLAGS BGWORKER_BYPASS_ROLELOGINCHECK
#define WORKER_ANY_ROLE true
#else
#define WORKER_CONNECT_FLAGS 0
#define WORKER_ANY_ROLE false
#endif

/* Since 16 the right to become a role is one of its own */
#if PG_VERSION_NUM >= 160000
#define can_set_role(member, role) member_can_set_role((member), (role))
#else
#define can_set_role(member, role) is_member_of_role((member), (role))
#endif

/* 17 put a backend's part of a virtual transaction id with the other */
#if PG_VERSION_NUM >= 170000
#define my_local_transaction() (MyProc->vxid.lxid)
#else
#define my_local_transaction() (MyProc->lxid)
#endif

/* 18 runs a portal without being told that it does so once */
#if PG_VERSION_NUM >= 180000
#define portal_run_all(portal, receiver, completion) \
	PortalRun((portal), FETCH_ALL, true, (receiver), (receiver), (completion))
#else
#define portal_run_all(portal, receiver, completion) \
	PortalRun((portal), FETCH_ALL, true, true, (receiver), (receiver), (completion))
#endif

/* 18 asks whether a deferrable key counts */
#if PG_VERSION_NUM >= 180000
#define primary_key_index(relation) RelationGetPrimaryKeyIndex((relation), false)
#else
#define primary_key_index(relation) RelationGetPrimaryKeyIndex(relation)
#endif

/* 16 added a parameter (summarizing indexes); plain inserts want neither speculative nor conflict handling */
#if PG_VERSION_NUM >= 160000
#define compat_insert_index_tuples(info, slot, estate) \
	ExecInsertIndexTuples((info), (slot), (estate), false, false, NULL, NIL, false)
#else
#define compat_insert_index_tuples(info, slot, estate) \
	ExecInsertIndexTuples((info), (slot), (estate), false, false, NULL, NIL)
#endif

#endif /* SALESOPS_CORE_COMPAT_H */
