/*
 * encode.h
 *		From columns to numbers: what is learned about each column of the training data (medians, knots, bins, levels), and
 *		the two forms a row takes because of it: a sparse design for logistic regression and a float row for trees.
 *
 * Words: a *table* is training data by column; a *feature* is what a model keeps of a column; a *level* is one text of a
 * category; a level is *kept* when it has enough rows to stand alone, the rest join the level *other*, which unseen
 * texts belong to as well. Reading values out of SQL types is features_pg.c's.
 */
#ifndef SALESOPS_LEARN_ENCODE_H
#define SALESOPS_LEARN_ENCODE_H

#include "core/kernel.h"
#include "learn/logistic.h"

#define LEARN_KNOTS			7	/* hinges of a number */
#define LEARN_EDGES			9	/* between ten quantile bins */
#define LEARN_LEVEL_MISSING	(-2)
#define LEARN_LEVEL_OTHER	(-1)

/* what numbers lose, one after the other, where a table is so wide that their terms pass the limit */
#define LEARN_SIMPLER_BINS	1	/* a line and hinges */
#define LEARN_SIMPLER_HINGES 2	/* every other hinge */
#define LEARN_SIMPLER_LINE	3	/* a line */

typedef enum LearnKind
{
	LEARN_NUMBER = 1,
	LEARN_CATEGORY = 2,
	LEARN_SET = 3				/* several levels a row: text arrays, words of a text */
} LearnKind;

/* a column of training data; codes are indexes into level */
typedef struct LearnColumn
{
	const char *name;
	LearnKind	kind;
	int			reading;		/* the door's note on how a value is read; kept with the model */
	double		origin;			/* likewise: a date's zero */
	const char *as_of;			/* likewise: the column that holds a row's own zero, or NULL */
	double	   *number;			/* NUMBER: NaN where missing */
	int32_t    *code;			/* CATEGORY: -1 where missing; SET: -1 where missing, else 0 */
	size_t	   *set_start;		/* SET: rows + 1 */
	int32_t    *set_code;		/* SET: of a row ascending, each once */
	int			levels;
	const char **level;
} LearnColumn;

typedef struct LearnTable
{
	size_t		rows;
	int			columns;
	LearnColumn *column;
	const uint8_t *label;
} LearnTable;

/* a row's value of one feature */
typedef struct LearnValue
{
	double		number;			/* NUMBER: NaN where missing */
	int32_t		level;			/* CATEGORY: index, OTHER or MISSING; SET: MISSING or 0 */
	int32_t		set_count;		/* SET */
	const int32_t *set;			/* SET: levels, OTHER among them left out */
} LearnValue;

/* what a number adds within a piece */
typedef struct LearnLine
{
	double		intercept;
	double		slope;
} LearnLine;

typedef struct LearnFeature
{
	char	   *name;
	LearnKind	kind;
	int			reading;
	double		origin;
	char	   *as_of;
	bool		has_missing;	/* missing rows were seen, often enough for a term of their own */
	bool		has_other;
	/* NUMBER */
	double		median;
	double		low;			/* values beyond are drawn in, for the linear part only */
	double		high;
	double		scale;
	int			knots;
	double		knot[LEARN_KNOTS];
	int			edges;
	double		edge[LEARN_EDGES];
	/* CATEGORY and SET: levels sorted by their bytes */
	int			levels;
	char	  **level;
	int32_t    *kept;			/* a level's place among the kept ones, or -1 */
	int			kept_count;
	bool		target;			/* target encoding besides: more than ten levels */
	bool		drop_first;		/* no term for the first kept level: unpenalised fits */
	uint32_t   *slot;			/* hash of the levels: index + 1 */
	uint32_t   *level_size;		/* bytes of each level */
	uint32_t	slot_mask;
	/* trees: columns tree_first .. tree_first + tree_count - 1: kept levels, other, missing, target encoding */
	bool		tree_target;	/* most rows hold levels too rare to stand alone: trees see their log odds */
	double	   *tree_value;		/* by level: the target encoding that predictions use; 0 for levels never seen */
	int			tree_first;
	int			tree_count;
	/* logistic: columns design_first .. ; only while training */
	int			design_first;
	int			design_count;
	/* what the feature adds to the log odds, as a function of its value alone (model.h) */
	int			pieces;			/* NUMBER: pieces - 1 edges between them */
	int			piece_half;		/* a power of two: room for twice as many less one edges, beyond the last infinite */
	double	   *piece_edge;
	LearnLine  *piece_line;
	double	   *level_weight;	/* CATEGORY and SET */
	double		other_weight;
	double		missing_weight;
	double		mean;			/* over the training rows: contributions are centred on it */
} LearnFeature;

typedef struct EncodeOptions
{
	int			min_rows;		/* a level with fewer joins "other" */
	int			max_levels;		/* kept ones a column */
	int			max_columns;	/* of the design, in all: min_rows is doubled until it fits */
	bool		linear_numbers; /* no hinges, no bins */
	bool		drop_first;
	bool		target;			/* target encoding allowed */
	bool		keep_bins;		/* a scorecard: numbers are never made simpler */
	bool		trees_only;		/* the limit counts the trees' columns */
	double		rare_share;		/* share of rows in levels that are not kept, beyond which trees get a target encoding */
} EncodeOptions;

typedef struct LearnFeatures
{
	int			count;
	LearnFeature *feature;
	int			tree_columns;
	int			design_columns;
	int			simpler;		/* steps by which numbers were made simpler: LEARN_SIMPLER_... */
	int32_t   **code_map;		/* by feature: table level -> feature level; only while training */
} LearnFeatures;

/* min_rows 10, max_levels 255, max_columns 1000, target encoding, for trees from a share of .5 */
extern void learn_encode_defaults(EncodeOptions *options);

/* Learn the features of all columns of the table. */
extern LearnFeatures *learn_encode(const KernelEnv *env, const LearnTable *table, const EncodeOptions *options);

/* Leave lines alone of all numbers in the logistic form; the trees' form stays. False where there is nothing else to leave out. */
extern bool learn_encode_straight(LearnFeatures *features);

/* The table's row as feature values; room holds the set members (as many as the longest set). */
extern void learn_table_row(const LearnFeatures *features, const LearnTable *table, size_t row, LearnValue *value,
							int32_t *room);

/* Entries a set may need at most in any row of the table: the size of learn_table_row's room. */
extern size_t learn_table_room(const LearnTable *table);

/* Index of a level by its text; OTHER where the model does not know it. */
extern int32_t learn_find_level(const LearnFeature *feature, const char *text, size_t length);

/* Build the levels' hash (after the levels are in place). */
extern void learn_index_levels(const KernelEnv *env, LearnFeature *feature);

/* The trees' form of a row: tree_columns floats, NaN where a number is missing or a level absent. */
extern void learn_tree_row(const LearnFeatures *features, const LearnValue *value, float *row);

/* The trees' form of a whole table, row-major. */
extern float *learn_tree_matrix(const KernelEnv *env, const LearnFeatures *features, const LearnTable *table);

/* the logistic form of a table, with what nested target encoding needs */
typedef struct LearnDesign
{
	LogisticData data;
	size_t	   *start;
	uint16_t   *column;
	double	   *value;
	const LearnFeatures *features;
	const LearnTable *table;
	const int  *fold;
	int			folds;
	double	  **target_rows;	/* by feature: rows of level l in fold k at [l * folds + k] */
	double	  **target_positives;
	double		base;			/* share of positives, all rows */
} LearnDesign;

/* Build the design; fold[r] in 0 .. folds - 1 serves the nested encodings. */
extern LearnDesign *learn_design(const KernelEnv *env, const LearnFeatures *features, const LearnTable *table,
								 const int *fold, int folds);

/*
 * Set the target-encoded entries for a fit that does not see fold `without` (-1: sees all): a row's own fold is left out of
 * its encoding as well; rows of `without` are encoded from all that the fit sees.
 */
extern void learn_design_target(LearnDesign *design, int without);

/* The final encoding of a level (-1: a level never seen), from all rows. */
extern double learn_target_value(const LearnDesign *design, int feature, int level);

/* A design without entries, for the trees' target encodings alone: counts by level and fold. */
extern LearnDesign *learn_targets(const KernelEnv *env, const LearnFeatures *features, const LearnTable *table,
								  const int *fold, int folds);

/* Does any feature give trees a target encoding? */
extern bool learn_has_tree_targets(const LearnFeatures *features);

/* Set the trees' target encodings in a matrix of learn_tree_matrix, nested as learn_design_target's are. */
extern void learn_tree_targets(const LearnDesign *design, int without, float *matrix);

/* Keep the encodings of all rows with the features: what predictions use. */
extern void learn_tree_target_values(const KernelEnv *env, LearnFeatures *features, const LearnDesign *design);

extern void learn_design_free(const KernelEnv *env, LearnDesign *design);

/* What a design column stands for, such as "hinge above 12", into text of the given size. */
extern void learn_design_term(const LearnFeature *feature, int column, char *text, size_t size);

#endif							/* SALESOPS_LEARN_ENCODE_H */
