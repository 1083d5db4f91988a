/*
 * clusters.c
 *		Grouping by scores. Plain connected components are never the answer: one wrong pair would chain two groups.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "match/clusters.h"

/* Best first; ties by records, so that the result depends on nothing else. */
static int
compare_edges(const void *a, const void *b)
{
	const MatchEdge *x = a;
	const MatchEdge *y = b;

	if (x->log2_odds != y->log2_odds)
		return x->log2_odds > y->log2_odds ? -1 : 1;
	if (x->a != y->a)
		return x->a < y->a ? -1 : 1;
	return (x->b > y->b) - (x->b < y->b);
}

/* Root of a record, halving the path. */
static int32_t
find_root(int32_t *parent, int32_t x)
{
	while (parent[x] != x)
	{
		parent[x] = parent[parent[x]];
		x = parent[x];
	}
	return x;
}

/* Components over the edges, best first, none larger than the limit. */
static void
components(const KernelEnv *env, int32_t n, const MatchEdge *edges, size_t nedges, int32_t limit, int32_t *parent)
{
	int32_t    *size = kernel_alloc_array(env, int32_t, n);

	for (int32_t i = 0; i < n; i++)
	{
		parent[i] = i;
		size[i] = 1;
	}
	for (size_t e = 0; e < nedges; e++)
	{
		int32_t		x = find_root(parent, edges[e].a);
		int32_t		y = find_root(parent, edges[e].b);

		if (x == y || size[x] > limit - size[y])
			continue;
		/* the least record is the root: numbers of clusters do not depend on the order of edges */
		if (y < x)
		{
			int32_t		t = x;

			x = y;
			y = t;
		}
		parent[y] = x;
		size[x] += size[y];
	}
	for (int32_t i = 0; i < n; i++)
		parent[i] = find_root(parent, i);
	kernel_release(env, size);
}

void
match_components(const KernelEnv *env, int32_t n, const MatchEdge *edges, size_t nedges, int32_t *least)
{
	components(env, n, edges, nedges, INT32_MAX, least);
}

/* Sums of log odds between the groups of one component, and each group's best partner. */
typedef struct Linkage
{
	int32_t		n;
	float	   *sum;			/* n x n, symmetric: between groups i and j */
	int32_t    *size;			/* 0: joined to another */
	int32_t    *best;			/* partner with the highest mean, -1 */
	double	   *best_mean;
	int32_t    *group;			/* of each record, by its place in the component */
} Linkage;

/* Mean log odds between two groups. */
static double
mean_odds(const Linkage *link, int32_t i, int32_t j)
{
	return link->sum[(size_t) i * link->n + j] / ((double) link->size[i] * link->size[j]);
}

/* Find a group's best partner again. */
static void
find_best(Linkage *link, int32_t i)
{
	link->best[i] = -1;
	link->best_mean[i] = -INFINITY;
	for (int32_t j = 0; j < link->n; j++)
	{
		if (j != i && link->size[j] > 0 && mean_odds(link, i, j) > link->best_mean[i])
		{
			link->best[i] = j;
			link->best_mean[i] = mean_odds(link, i, j);
		}
	}
}

/* Join group j to group i. */
static void
join_groups(Linkage *link, int32_t i, int32_t j)
{
	link->size[i] += link->size[j];
	link->size[j] = 0;
	for (int32_t k = 0; k < link->n; k++)
	{
		if (link->group[k] == j)
			link->group[k] = i;
		if (k == i || link->size[k] == 0)
			continue;
		link->sum[(size_t) i * link->n + k] += link->sum[(size_t) j * link->n + k];
		link->sum[(size_t) k * link->n + i] = link->sum[(size_t) i * link->n + k];
	}
	find_best(link, i);
	for (int32_t k = 0; k < link->n; k++)
	{
		if (k == i || link->size[k] == 0)
			continue;
		if (link->best[k] == i || link->best[k] == j)
			find_best(link, k);
		else if (mean_odds(link, k, i) > link->best_mean[k])
		{
			link->best[k] = i;
			link->best_mean[k] = mean_odds(link, k, i);
		}
	}
}

/* Average linkage (Sokal and Michener 1958) of the members of one component, until no two groups are near enough. */
static void
link_component(const KernelEnv *env, const int32_t *member, int32_t n, double cut, MatchOdds odds, void *context, int32_t *cluster)
{
	Linkage		link = {.n = n};

	link.sum = kernel_alloc_array(env, float, (size_t) n * n);
	link.size = kernel_alloc_array(env, int32_t, n);
	link.best = kernel_alloc_array(env, int32_t, n);
	link.best_mean = kernel_alloc_array(env, double, n);
	link.group = kernel_alloc_array(env, int32_t, n);
	for (int32_t i = 0; i < n; i++)
	{
		link.size[i] = 1;
		link.group[i] = i;
		link.sum[(size_t) i * n + i] = 0;
		for (int32_t j = i + 1; j < n; j++)
		{
			float		value = (float) odds(context, member[i], member[j]);

			link.sum[(size_t) i * n + j] = value;
			link.sum[(size_t) j * n + i] = value;
		}
		if (n > 100)
			kernel_tick(env, 0, 0);
	}
	for (int32_t i = 0; i < n; i++)
		find_best(&link, i);
	for (;;)
	{
		int32_t		i = -1;

		for (int32_t k = 0; k < n; k++)
		{
			if (link.size[k] > 0 && link.best[k] >= 0 && (i < 0 || link.best_mean[k] > link.best_mean[i]))
				i = k;
		}
		if (i < 0 || link.best_mean[i] < cut)
			break;
		join_groups(&link, i < link.best[i] ? i : link.best[i], i < link.best[i] ? link.best[i] : i);
		if (n > 100)
			kernel_tick(env, 0, 0);
	}
	/* members ascend and a group's number is its least member's place */
	for (int32_t i = 0; i < n; i++)
		cluster[member[i]] = member[link.group[i]];
	kernel_release(env, link.sum);
	kernel_release(env, link.size);
	kernel_release(env, link.best);
	kernel_release(env, link.best_mean);
	kernel_release(env, link.group);
}

/* Members of each component, ascending: a counting sort by root. */
static int32_t *
members_by_root(const KernelEnv *env, int32_t n, const int32_t *root, int32_t *start)
{
	int32_t    *member = kernel_alloc_array(env, int32_t, n);

	memset(start, 0, sizeof(int32_t) * ((size_t) n + 1));
	for (int32_t i = 0; i < n; i++)
		start[root[i] + 1]++;
	for (int32_t i = 0; i < n; i++)
		start[i + 1] += start[i];
	for (int32_t i = n - 1; i >= 0; i--)
		member[--start[root[i] + 1]] = i;
	/* each start[r + 1] is now where r's members begin */
	return member;
}

int32_t
match_cluster(const KernelEnv *env, int32_t n, MatchEdge *edges, size_t nedges, double cut, MatchOdds odds, void *context,
			  int32_t *cluster)
{
	int32_t    *root = kernel_alloc_array(env, int32_t, n);
	int32_t    *start = kernel_alloc_array(env, int32_t, (size_t) n + 1);
	int32_t    *member;
	int32_t		count = 0;

	qsort(edges, nedges, sizeof(MatchEdge), compare_edges);
	components(env, n, edges, nedges, MATCH_LARGEST_COMPONENT, root);
	member = members_by_root(env, n, root, start);
	for (int32_t i = 0; i < n;)
	{
		int32_t		to = i;

		while (to < n && root[member[to]] == root[member[i]])
			to++;
		if (to - i == 1)
			cluster[member[i]] = member[i];
		else
			link_component(env, member + i, to - i, cut, odds, context, cluster);
		i = to;
		kernel_tick(env, i, n);
	}
	/* dense numbers in the order of least records */
	for (int32_t i = 0; i < n; i++)
		root[i] = cluster[i] == i ? count++ : -1;
	for (int32_t i = 0; i < n; i++)
		cluster[i] = root[cluster[i]];
	kernel_release(env, root);
	kernel_release(env, start);
	kernel_release(env, member);
	return count;
}

size_t
match_one_to_one(const KernelEnv *env, int32_t n, MatchEdge *edges, size_t nedges)
{
	bool	   *taken = kernel_alloc_array(env, bool, n);
	size_t		kept = 0;

	memset(taken, 0, sizeof(bool) * (size_t) n);
	qsort(edges, nedges, sizeof(MatchEdge), compare_edges);
	for (size_t e = 0; e < nedges; e++)
	{
		if (taken[edges[e].a] || taken[edges[e].b])
			continue;
		taken[edges[e].a] = true;
		taken[edges[e].b] = true;
		edges[kept++] = edges[e];
	}
	kernel_release(env, taken);
	return kept;
}
