/*
 * text_kernels.cpp
 *		Nanoseconds a pair of the text kernels against rapidfuzz's C++ core, on generated names of 8 to 30 characters.
 *
 * Both sides see the same bytes; rounds alternate and the best of each counts, so that a busy machine disturbs both alike.
 */
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <rapidfuzz/fuzz.hpp>
#include <rapidfuzz/distance.hpp>

extern "C"
{
#include "text/jaro.h"
#include "text/levenshtein.h"
#include "text/tokens.h"
}

static const int ROUNDS = 9;
static const size_t PAIRS = 200000;
static const size_t BATCH = 1000;

static void *
env_alloc(void *, size_t size)
{
	return malloc(size ? size : 1);
}

static void *
env_realloc(void *, void *pointer, size_t size)
{
	return realloc(pointer, size ? size : 1);
}

static void
env_release(void *, void *pointer)
{
	free(pointer);
}

static void
env_tick(void *, double, double)
{
}

/* Names as they come: syllables, some with a typing error, in one block of memory for both sides. */
struct Names
{
	std::vector<std::string> a, b;
	std::vector<TextView> view_a, view_b;

	explicit Names(unsigned seed, size_t count)
	{
		static const char *syllables[] = {"an", "ber", "chris", "da", "el", "fre", "gar", "hol", "ing", "jo", "ka", "lin", "mar", "nor",
			"os", "pe", "qui", "ro", "son", "ti", "ul", "vic", "wil", "xa", "yu", "zim", "th", "er", "ck", "ley"};
		std::mt19937 random(seed);
		auto name = [&]() {
			std::string s;
			size_t length = 8 + random() % 23;
			size_t blank = 3 + random() % 6;

			while (s.size() < length)
			{
				s += syllables[random() % 30];
				if (s.size() > blank && s.find(' ') == std::string::npos)
					s += ' ';
			}
			s.resize(length);
			return s;
		};
		for (size_t i = 0; i < count; i++)
		{
			a.push_back(name());
			b.push_back(random() % 3 ? name() : a.back());
			for (unsigned k = random() % 3; k > 0; k--)
				b.back()[random() % b.back().size()] = (char) ('a' + random() % 26);
		}
		for (size_t i = 0; i < count; i++)
		{
			view_a.push_back(text_view_bytes(a[i].data(), a[i].size()));
			view_b.push_back(text_view_bytes(b[i].data(), b[i].size()));
		}
	}
};

static double sink;

/* Processor time of this thread in nanoseconds: a busy machine's other processes do not count. */
static double
thread_time()
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double) now.tv_sec * 1e9 + (double) now.tv_nsec;
}

/* The best of several alternating rounds, in nanoseconds a pair. */
static void
race(const char *what, double target, size_t pairs, const std::function<double()> &ours, const std::function<double()> &theirs)
{
	double best[2] = {1e18, 1e18};

	for (int round = 0; round < ROUNDS; round++)
		for (int side = 0; side < 2; side++)
		{
			double start = thread_time();

			sink += side == 0 ? ours() : theirs();
			double took = thread_time() - start;
			best[side] = std::min(best[side], took / (double) pairs);
		}
	printf("%-44s %8.1f %10.1f %8.2f   %s\n", what, best[0], best[1], best[0] / best[1],
		   target > 0 ? (best[0] / best[1] <= target ? "ok" : "ABOVE TARGET") : "");
}

int
main()
{
	KernelEnv env = {env_alloc, env_realloc, env_release, env_tick, nullptr};
	static TextWorkspace workspace;
	Names names(1, PAIRS);
	std::vector<uint32_t> distances(PAIRS);
	std::vector<double> similarities(PAIRS);

	workspace.env = &env;
	printf("%-44s %8s %10s %8s\n", "ns a pair, names of 8-30 characters", "salesops", "rapidfuzz", "ratio");
	race("levenshtein, one to one", 0.7, PAIRS,
		 [&] { double s = 0; for (size_t i = 0; i < PAIRS; i++) s += text_levenshtein(&workspace, names.view_a[i], names.view_b[i], TEXT_NO_LIMIT); return s; },
		 [&] { double s = 0; for (size_t i = 0; i < PAIRS; i++) s += (double) rapidfuzz::levenshtein_distance(names.a[i], names.b[i]); return s; });
	race("levenshtein at most 3, one to one", 0, PAIRS,
		 [&] { double s = 0; for (size_t i = 0; i < PAIRS; i++) s += text_levenshtein(&workspace, names.view_a[i], names.view_b[i], 3); return s; },
		 [&] { double s = 0; for (size_t i = 0; i < PAIRS; i++) s += (double) rapidfuzz::levenshtein_distance(names.a[i], names.b[i], {1, 1, 1}, 3); return s; });
	race("jaro-winkler, one to one", 0.7, PAIRS,
		 [&] { double s = 0; for (size_t i = 0; i < PAIRS; i++) s += text_jaro_winkler(&workspace, names.view_a[i], names.view_b[i], 0.1); return s; },
		 [&] { double s = 0; for (size_t i = 0; i < PAIRS; i++) s += rapidfuzz::jaro_winkler_similarity(names.a[i], names.b[i]); return s; });
	race("damerau-levenshtein, one to one", 0, PAIRS,
		 [&] { double s = 0; for (size_t i = 0; i < PAIRS; i++) s += text_damerau_levenshtein(&workspace, names.view_a[i], names.view_b[i]); return s; },
		 [&] { double s = 0; for (size_t i = 0; i < PAIRS; i++) s += (double) rapidfuzz::experimental::damerau_levenshtein_distance(names.a[i], names.b[i]); return s; });
	race("token sort, one to one", 0, PAIRS,
		 [&] { double s = 0; for (size_t i = 0; i < PAIRS; i++) s += text_token_sort(&workspace, names.view_a[i], names.view_b[i]); return s; },
		 [&] { double s = 0; for (size_t i = 0; i < PAIRS; i++) s += rapidfuzz::fuzz::token_sort_ratio(names.a[i], names.b[i]) / 100; return s; });
	race("token set, one to one", 0, PAIRS,
		 [&] { double s = 0; for (size_t i = 0; i < PAIRS; i++) s += text_token_set(&workspace, names.view_a[i], names.view_b[i]); return s; },
		 [&] { double s = 0; for (size_t i = 0; i < PAIRS; i++) s += rapidfuzz::fuzz::token_set_ratio(names.a[i], names.b[i]) / 100; return s; });

	race("levenshtein, one to many", 0.4, PAIRS,
		 [&] {
			 double s = 0;
			 for (size_t from = 0; from < PAIRS; from += BATCH)
			 {
				 TextPattern pattern;
				 text_pattern_prepare(&pattern, names.view_a[from]);
				 text_levenshtein_batch(&workspace, &pattern, &names.view_b[from], BATCH, TEXT_NO_LIMIT, &distances[from]);
				 s += distances[from + 1];
			 }
			 return s;
		 },
		 [&] {
			 double s = 0;
			 for (size_t from = 0; from < PAIRS; from += BATCH)
			 {
				 rapidfuzz::CachedLevenshtein<char> cached(names.a[from]);
				 for (size_t i = from; i < from + BATCH; i++)
					 s += (double) cached.distance(names.b[i]);
			 }
			 return s;
		 });
	race("jaro-winkler, one to many", 0.4, PAIRS,
		 [&] {
			 double s = 0;
			 for (size_t from = 0; from < PAIRS; from += BATCH)
			 {
				 TextPattern pattern;
				 text_pattern_prepare(&pattern, names.view_a[from]);
				 text_jaro_winkler_batch(&workspace, &pattern, &names.view_b[from], BATCH, 0.1, &similarities[from]);
				 s += similarities[from + 1];
			 }
			 return s;
		 },
		 [&] {
			 double s = 0;
			 for (size_t from = 0; from < PAIRS; from += BATCH)
			 {
				 rapidfuzz::CachedJaroWinkler<char> cached(names.a[from]);
				 for (size_t i = from; i < from + BATCH; i++)
					 s += cached.similarity(names.b[i]);
			 }
			 return s;
		 });
	return sink == 0;
}
