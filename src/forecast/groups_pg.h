/*
 * groups_pg.h
 *		What bookings may be grouped by, and numbers for the groups of rows as they are read.
 */
#ifndef SALESOPS_FORECAST_GROUPS_PG_H
#define SALESOPS_FORECAST_GROUPS_PG_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "lib/stringinfo.h"

#include "forecast/history_pg.h"

typedef struct ForecastGrouper ForecastGrouper;

/* Refuse grouping names that mean nothing here, all at once. */
extern void forecast_check_by(ArrayType *by);
/* Whether it asks for no groups at all. */
extern bool forecast_by_nothing(ArrayType *by);
extern bool forecast_by_currency(ArrayType *by);
/* ", expression" for each grouping name; what to join for them (or nothing) to opportunity o. */
extern void forecast_append_grouping(StringInfo sql, ArrayType *by);
extern const char *forecast_grouping_join(ArrayType *by);
/* Numbers the groups of rows whose grouping columns begin at a column. */
extern ForecastGrouper *forecast_grouper(const KernelEnv *env, ArrayType *by, int first_column);
extern int	forecast_group_of(ForecastGrouper *grouper, TupleTableSlot *slot);
/* The groups in the order of their texts; deals' numbers of them follow. */
extern void forecast_groups_finish(ForecastGrouper *grouper, ForecastBook *book);

#endif /* SALESOPS_FORECAST_GROUPS_PG_H */
