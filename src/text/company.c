/*
 * company.c
 *		Legal forms of companies and their removal from folded names (company.h).
 *
 * The table holds each form as it looks after folding: "Sp. z o.o." is "sp zoo" once single letters are joined, and a form in
 * another script is its transliteration. Sources: the national commercial codes' own abbreviations, as collected in ISO 20275
 * (entity legal forms). A form that is also a plain word (a "company", "societe") is listed where it is part of names as a form.
 */
#include <ctype.h>
#include <string.h>

#include "text/company.h"

/* How many words the longest form has, each letter of an abbreviation counted, and how many bytes */
#define MAX_FORM_WORDS 9
#define MAX_FORM_BYTES 96
/* A power of two, more than twice the forms there are */
#define FORM_SLOTS 2048

typedef struct LegalForm
{
	const char *country;
	const char *words; /* separated by commas */
	bool leads; /* stands in front of the name too */
} LegalForm;

static const LegalForm forms[] = {
	{"US",
	 "inc,incorporated,corp,corporation,co,company,llc,ltd liability co,limited liability company,lllp,llp,lp,"
	 "limited partnership,limited liability partnership,pllc,pc,professional corporation",
	 false},
	{"GB", "ltd,limited,plc,public limited company,llp,cic,community interest company,lbg", false},
	{"IE", "dac,designated activity company,clg,company limited by guarantee,teoranta,teo,cpt,uc,unlimited company",
	 false},
	{"CA", "ltee,limitee,ulc,senc,sencrl,enr,enregistree", false},
	{"AU", "pty,pty ltd,proprietary limited,no liability", false},
	{"NZ", "limited,ltd", false},
	{"ZA", "pty ltd,cc,npc,rf pty ltd,soc ltd", false},
	{"IN", "pvt,pvt ltd,private limited,public limited,opc pvt ltd,opc private limited", false},
	{"SG", "pte,pte ltd,private limited", false},
	{"MY", "sdn bhd,bhd,berhad,sendirian berhad,plt", false},
	{"HK", "ltd,limited,you xian gong si", false},
	{"DE",
	 "gmbh,ggmbh,mbh,gesellschaft mit beschrankter haftung,ag,aktiengesellschaft,kg,kommanditgesellschaft,ohg,"
	 "offene handelsgesellschaft,gbr,ug,ug haftungsbeschrankt,unternehmergesellschaft haftungsbeschrankt,ev,"
	 "eingetragener verein,eg,ek,eingetragener kaufmann,eingetragene kauffrau,kgaa,partg,partg mbb,gmbh and co,"
	 "gmbh and co kg,gmbh and co ohg,gmbh and co kgaa,ag and co kg,ug and co kg,and co kg,and co ohg,gmbh und co kg,"
	 "se,se and co kg,se and co kgaa,investmentaktiengesellschaft",
	 false},
	{"AT", "gesmbh,ges mbh,og,offene gesellschaft,eingetragenes unternehmen,gesmbh and co kg,flexco", false},
	{"CH", "sagl,klg,kmg,genossenschaft,gmbh,sarl", false},
	{"FR",
	 "sa,sas,sasu,sarl,eurl,snc,sci,scop,scp,selarl,selas,sca,scs,eirl,gie,societe anonyme,"
	 "societe par actions simplifiee,societe a responsabilite limitee,societe en nom collectif,societe civile "
	 "immobiliere",
	 false},
	{"BE", "nv,bv,bvba,sprl,srl,cvba,scrl,commv,vof,asbl,vzw,cv,comm v,sc", false},
	{"LU", "sarl,sarls,sarl s,scsp,sicav,scsp sicav raif", false},
	{"NL",
	 "bv,nv,vof,cv,besloten vennootschap,naamloze vennootschap,vennootschap onder firma,"
	 "commanditaire vennootschap,ba",
	 false},
	{"ES",
	 "sa,sl,slu,sau,sll,slne,scoop,sociedad anonima,sociedad limitada,sociedad de responsabilidad limitada,"
	 "sociedad limitada unipersonal,sociedad cooperativa,slp,sal",
	 false},
	{"PT", "lda,limitada,sgps,sociedade anonima,unipessoal lda,sociedade unipessoal lda,crl,sgps sa", false},
	{"BR", "ltda,limitada,eireli,mei,epp,sociedade anonima,ltda me,ltda epp,eireli me", false},
	{"MX", "sa de cv,sab de cv,sapi de cv,s de rl,s de rl de cv,sociedad anonima de capital variable,sc", false},
	{"AR", "sa,srl,sas,sau,saci,sacif,saic", false},
	{"CL", "spa,limitada,ltda,eirl", false},
	{"CO", "sas,sa esp,sca,ltda", false},
	{"PE", "sac,saa,eirl,srl,scrl", false},
	{"IT",
	 "spa,srl,srls,sapa,snc,sas,societa per azioni,societa a responsabilita limitata,scarl,scrl,coop,"
	 "societa cooperativa,societa in nome collettivo,societa in accomandita semplice,srl unipersonale,soc coop",
	 false},
	{"DK", "aps,as,ks,amba,aktieselskab,anpartsselskab,ivs,smba", false},
	{"NO", "as,asa,ans,da,enk,ks,ba,sa,aksjeselskap,allmennaksjeselskap,nuf", false},
	{"SE", "ab,aktiebolag,aktiebolaget,hb,handelsbolag,kb,kommanditbolag,ek for,ekonomisk forening,ab publ,publ",
	 false},
	{"FI", "oy,oyj,oy ab,oyj abp,abp,ky,ay,osakeyhtio,julkinen osakeyhtio,kommandiittiyhtio,tmi,osk,osuuskunta", false},
	{"IS", "ehf,hf,ohf,slf,sf,einkahlutafelag,hlutafelag", false},
	{"EE", "ou,as,uu,tu,mtu,fie,osauhing,aktsiaselts", false},
	{"LV", "sia,as,ik,sabiedriba ar ierobezotu atbildibu,akciju sabiedriba", false},
	{"LT", "uab,ab,mb,vsi,uzdaroji akcine bendrove,akcine bendrove", false},
	{"PL",
	 "sp zoo,spzoo,sp z oo,spolka zoo,spolka z ograniczona odpowiedzialnoscia,sa,spolka akcyjna,sp j,spj,spolka jawna,"
	 "sp k,spk,spolka komandytowa,sp zoo sp k,sp zoo spk,ska,sp p,psa,prosta spolka akcyjna,fhu,phu,ppu,ppuh,sc",
	 false},
	{"CZ", "sro,spol sro,as,akciova spolecnost,spolecnost s rucenim omezenym,vos,ks,ops,zs,zu", false},
	{"SK", "sro,spol sro,as,akciova spolocnost,spolocnost s rucenim obmedzenym,vos,ks,jsa", false},
	{"HU",
	 "kft,zrt,nyrt,rt,bt,kkt,kht,nonprofit kft,korlatolt felelossegu tarsasag,zartkoruen mukodo reszvenytarsasag,"
	 "nyilvanosan mukodo reszvenytarsasag,beteti tarsasag",
	 false},
	{"RO", "srl,sa,srl d,snc,scs,pfa,societate cu raspundere limitata,societate pe actiuni", false},
	{"BG", "eood,yeood,ood,ad,ead,yead,adsits,sd,kd", false},
	{"GR", "ae,epe,ike,oe,ee,monoprosope epe,monoprosope ike,anonyme etaireia,mepe,abee,anonymi etairia", false},
	{"CY", "ltd,limited,public company limited", false},
	{"TR",
	 "as,anonim sirketi,ltd sti,limited sirketi,sti,san ve tic as,san ve tic ltd sti,san tic ltd sti,tic ltd sti,"
	 "sanayi ve ticaret as,sanayi ve ticaret limited sirketi,sanayi ve ticaret ltd sti,tas",
	 false},
	{"RU",
	 "ooo,oao,zao,pao,ao,nko,fgup,mup,tsoo,obshchestvo s ogranichennoy otvetstvennostyu,"
	 "aktsionernoye obshchestvo,publichnoye aktsionernoye obshchestvo,zakrytoye aktsionernoye obshchestvo,"
	 "individualnyy predprinimatel",
	 false},
	{"UA", "tov,pat,prat,fop,tzov,tdv", false},
	{"BY", "chup,chtup,chp,odo,soooo,soo", false},
	{"KZ", "too,ao,tdo", false},
	{"RS", "doo,ad,dooel,jp,zr,drushtvo s ogranichenom odgovornoshchu", false},
	{"HR", "doo,dd,jdoo,obrt,drustvo s ogranicenom odgovornoscu,dionicko drustvo", false},
	{"SI", "doo,dd,dno,kd,druzba z omejeno odgovornostjo,delniska druzba", false},
	{"IL", "bm,ltd,baravon mugbal", false},
	{"AE", "fze,fz llc,fzco,fzc,pjsc,psc,llc sp,wll,dmcc,sole proprietorship llc,dh mm,shmm,sh mm", false},
	{"SA", "llc,jsc,cjsc,wll,dh mm", false},
	{"EG", "sae,llc,shmm,sh mm", false},
	{"NG", "ltd,plc,gte,nig ltd,nigeria limited", false},
	{"KE", "ltd,plc,limited", false},
	{"CN",
	 "co ltd,company limited,you xian gong si,gu fen you xian gong si,you xian ze ren gong si,ji tuan you xian gong si,"
	 "limited liability co,gu fen gong si",
	 false},
	{"TW", "gu fen you xian gong si,you xian gong si,co ltd", false},
	{"JP",
	 "kk,gk,yk,kabushiki kaisha,kabushiki gaisha,godo kaisha,yugen kaisha,yugen gaisha,gomei kaisha,co ltd,"
	 "zhu shi hui she,you xian hui she,he tong hui she,he ming hui she",
	 false},
	{"KR", "jusighoesa,yuhanhoesa,yuhanchaegimhoesa,habjahoesa,habmyeonghoesa,co ltd,chusik hoesa,jusik hoesa", false},
	{"VN", "tnhh,cong ty tnhh,cong ty co phan,cong ty cp,jsc,cong ty tnhh mtv,cong ty trach nhiem huu han,ctcp", false},
	{"TH", "co ltd,pcl,public company limited,plc,ca kad,ca kad mhachn", false},
	{"ID", "pt,cv,tbk,ud,persero,perseroan terbatas", false},
	{"PH", "inc,opc,corp", false},
	{"PK", "pvt ltd,smc pvt ltd,smc private limited", false},
	{"EU", "se,scse,eeig,ewiv,geie,societas europaea", false},

	/* These stand in front as often as at the end. A form that is also a word or a well-known name (too, sas, at) is not here. */
	{"FR", "sarl,eurl,societe anonyme", true},
	{"SE", "ab,aktiebolaget", true},
	{"FI", "oy", true},
	{"EE", "ou,osauhing", true},
	{"LV", "sia", true},
	{"LT", "uab", true},
	{"RU",
	 "ooo,oao,zao,pao,ao,fgup,obshchestvo s ogranichennoy otvetstvennostyu,aktsionernoye obshchestvo,"
	 "publichnoye aktsionernoye obshchestvo,zakrytoye aktsionernoye obshchestvo,individualnyy predprinimatel",
	 true},
	{"UA", "tov,tzov,prat", true},
	{"BY", "chup,chtup", true},
	{"JP", "kabushiki kaisha,godo kaisha,yugen kaisha,zhu shi hui she,you xian hui she,he tong hui she", true},
	{"KR", "jusighoesa,yuhanhoesa,chusik hoesa,jusik hoesa", true},
	{"VN", "cong ty tnhh,cong ty co phan,cong ty cp,cong ty tnhh mtv,cong ty trach nhiem huu han,ctcp", true},
	{"ID", "pt,cv", true},
	{"TH", "brisath", true},
};

/* A folded name as words that point into it. */
typedef struct Words
{
	char *name;
	size_t start; /* the part of the name that is left */
	size_t end;
} Words;

/* The form at a place of the table. */
const char *
text_legal_form(size_t index, const char **country, bool *leads)
{
	static char form[128];

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
	{
		const char *at = forms[i].words;

		while (*at != '\0')
		{
			size_t length = strcspn(at, ",");

			if (index-- == 0)
			{
				memcpy(form, at, length);
				form[length] = '\0';
				*country = forms[i].country;
				*leads = forms[i].leads;
				return form;
			}
			at += length + (at[length] == ',');
		}
	}
	return NULL;
}

/* The forms by their words: open addressing, filled on first use. */
typedef struct FormSlot
{
	const char *words;
	size_t length;
	bool leads;
} FormSlot;

static FormSlot slots[FORM_SLOTS];

/* The slot of some words, or the empty one where they would be. */
static FormSlot *
form_slot(const char *words, size_t length)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ (unsigned char) words[i]) * 16777619u;
	for (;; hash++)
	{
		FormSlot *slot = &slots[hash % FORM_SLOTS];

		if (slot->words == NULL || (slot->length == length && memcmp(slot->words, words, length) == 0))
			return slot;
	}
}

/* Fill the slots. A form of several countries leads where it leads in any. */
static void
fill_slots(void)
{
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
	{
		const char *at = forms[i].words;

		while (*at != '\0')
		{
			size_t length = strcspn(at, ",");
			FormSlot *slot = form_slot(at, length);

			slot->words = at;
			slot->length = length;
			slot->leads |= forms[i].leads;
			at += length + (at[length] == ',');
		}
	}
}

/* True where a word of one letter stands at a place; a blank that will go is marked \1. */
static inline bool
is_single(const char *name, size_t length, size_t at)
{
	return isalpha((unsigned char) name[at]) && (at == 0 || name[at - 1] == ' ' || name[at - 1] == '\1') &&
		   (at + 1 == length || name[at + 1] == ' ');
}

/* Join runs of single letters: "s a r l" is "sarl". A single letter between longer words stays as it is. */
static size_t
join_letters(char *name, size_t length)
{
	size_t kept = 0;

	for (size_t i = 1; i + 1 < length; i++)
		if (name[i] == ' ' && is_single(name, length, i - 1) && is_single(name, length, i + 1))
			name[i] = '\1';
	for (size_t i = 0; i < length; i++)
		if (name[i] != '\1')
			name[kept++] = name[i];
	return kept;
}

/* True where some legal form is these words, single letters joined; leading asks only for forms that stand in front. */
static bool
is_form(const char *words, size_t length, bool leading)
{
	static bool filled = false;
	const FormSlot *slot;
	char joined[MAX_FORM_BYTES];

	if (length > MAX_FORM_BYTES)
		return false;
	if (!filled)
		fill_slots();
	filled = true;
	memcpy(joined, words, length);
	slot = form_slot(joined, join_letters(joined, length));
	return slot->words != NULL && (slot->leads || !leading);
}

/* Where the last words begin, so many; end where there are not as many and one more. */
static size_t
last_words(const Words *w, int count)
{
	size_t at = w->end;

	while (at > w->start)
	{
		if (w->name[at - 1] == ' ' && --count == 0)
			return at;
		at--;
	}
	return w->end;
}

/* Where the words after the first so many begin; start where there are none. */
static size_t
after_words(const Words *w, int count)
{
	for (size_t at = w->start; at < w->end; at++)
		if (w->name[at] == ' ' && --count == 0)
			return at + 1;
	return w->start;
}

/* Take the longest form off the end; false where there is none. */
static bool
strip_end(Words *w)
{
	for (int count = MAX_FORM_WORDS; count > 0; count--)
	{
		size_t at = last_words(w, count);

		if (at < w->end && is_form(w->name + at, w->end - at, false))
		{
			w->end = at - 1;
			return true;
		}
	}
	return false;
}

/* Take the longest form off the start; false where there is none. */
static bool
strip_start(Words *w)
{
	for (int count = MAX_FORM_WORDS; count > 0; count--)
	{
		size_t at = after_words(w, count);

		if (at == w->start)
			continue;
		if (is_form(w->name + w->start, at - 1 - w->start, true) ||
			(count == 1 && at - w->start == 4 && memcmp(w->name + w->start, "the ", 4) == 0))
		{
			w->start = at;
			return true;
		}
	}
	return false;
}

/* What a form left behind at the end: "Miller and" of "Miller & Co". */
static bool
strip_and(Words *w)
{
	if (w->end - w->start > 4 && memcmp(w->name + w->end - 4, " and", 4) == 0)
	{
		w->end -= 4;
		return true;
	}
	return false;
}

/* Strip a folded name in place. */
size_t
text_company_strip(char *name, size_t length)
{
	Words w = {name, 0, length};

	while (strip_end(&w) || strip_and(&w) || strip_start(&w))
		;
	memmove(name, name + w.start, w.end - w.start);
	return join_letters(name, w.end - w.start);
}
