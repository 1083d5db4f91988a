-- A job that runs by itself: rescoring where there are leads, else the pipeline's quality.
SELECT EXISTS (SELECT FROM salesops.lead) AS have_leads \gset
\if :have_leads
SELECT salesops.create_job('rescore', 'every 1 second', format('SELECT salesops.score_leads(%L, %L)', 'lead', :'as_of'::timestamptz + interval '1 day'));
\else
SELECT salesops.create_job('count deals', 'every 1 second', 'SELECT count(*) FROM salesops.opportunity');
\endif
DO $$
BEGIN
  FOR i IN 1..150 LOOP
    COMMIT;
    EXIT WHEN (SELECT count(*) >= 2 FROM salesops.job_run WHERE outcome = 'succeeded');
    PERFORM pg_sleep(0.2);
  END LOOP;
END
$$;
SELECT salesops.alter_job((SELECT job FROM salesops.job_run ORDER BY run_id LIMIT 1), options => '{"paused": true}');
