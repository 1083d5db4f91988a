-- The extension installs, twice over in one transaction, beside tables of the same names, and goes without a trace.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
CREATE TABLE public.lead (id int);
CREATE TABLE public.stage (id int);
BEGIN;
CREATE EXTENSION salesops;
ROLLBACK;
CREATE EXTENSION salesops;
RESET client_min_messages;
SELECT extversion ~ '^[0-9.]+$' AS version_is_set FROM pg_extension WHERE extname = 'salesops';
SELECT count(*) FROM salesops.lead;
SELECT count(*) FROM public.lead;
DROP EXTENSION salesops;
SELECT count(*) FROM pg_class WHERE relnamespace = 'salesops'::regnamespace;
SELECT count(*) FROM pg_event_trigger WHERE evtname LIKE 'salesops%';
DROP TABLE public.lead, public.stage;
CREATE EXTENSION salesops;
DROP EXTENSION salesops;
