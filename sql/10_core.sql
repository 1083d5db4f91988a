-- Core: the contract between the user's tables and every domain (attach), and what all domains register with.

GRANT USAGE ON SCHEMA salesops TO PUBLIC;
COMMENT ON SCHEMA salesops IS 'revenue operations on your own tables: lead scoring, duplicates, stage criteria, forecasts, commissions';

-- ---- registries: each domain's script adds its own rows; filled by the install script, never dumped -------------------
CREATE TABLE salesops.relation_registry (
  table_name name NOT NULL,
  column_name name NOT NULL,
  PRIMARY KEY (table_name, column_name)
);
COMMENT ON TABLE salesops.relation_registry IS
  'configuration tables of salesops with a regclass column: rows that speak of a dropped relation are removed by an event trigger';

CREATE TABLE salesops.access_right (
  level text NOT NULL CHECK (level IN ('reader', 'operator', 'admin')),
  kind text NOT NULL CHECK (kind IN ('function', 'procedure', 'table')),
  object text NOT NULL,
  PRIMARY KEY (level, kind, object)
);
COMMENT ON TABLE salesops.access_right IS
  'what grant_access() hands out at each level; functions listed here are revoked from PUBLIC when the extension is installed';

-- ---- attach ---------------------------------------------------------------------------------------------------------
CREATE TABLE salesops.source (
  entity text PRIMARY KEY,
  relation regclass NOT NULL,
  columns jsonb NOT NULL DEFAULT '{}',
  column_numbers jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE salesops.source IS 'which relation of the user''s each contract view reads, and contract column -> source column';
COMMENT ON COLUMN salesops.source.column_numbers IS 'attribute numbers of the source columns, by which renames are followed';
SELECT pg_catalog.pg_extension_config_dump('salesops.source', '');

CREATE FUNCTION salesops.source_changed() RETURNS trigger
  LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_source_changed';
COMMENT ON FUNCTION salesops.source_changed() IS 'trigger on salesops.source: rewrites the function behind the contract view';
CREATE TRIGGER source_numbers BEFORE INSERT OR UPDATE ON salesops.source
  FOR EACH ROW EXECUTE FUNCTION salesops.source_changed();
CREATE TRIGGER source_changed AFTER INSERT OR UPDATE OR DELETE ON salesops.source
  FOR EACH ROW EXECUTE FUNCTION salesops.source_changed();

CREATE FUNCTION salesops.attach(entity text, relation regclass, columns jsonb DEFAULT '{}',
                                OUT contract_column text, OUT source_column text) RETURNS SETOF record
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 20 AS 'MODULE_PATHNAME', 'salesops_attach';
COMMENT ON FUNCTION salesops.attach(text, regclass, jsonb) IS
  'read a contract entity from a relation of yours; columns maps contract column to source column, the same names map by themselves';

CREATE FUNCTION salesops.detach(entity text) RETURNS boolean
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_detach';
COMMENT ON FUNCTION salesops.detach(text) IS 'forget what an entity was attached to: its view is empty again; false where nothing was attached';

CREATE FUNCTION salesops.missing_source(entity text, reason text) RETURNS boolean
  LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_missing_source';
COMMENT ON FUNCTION salesops.missing_source(text, text) IS 'raises the error that says which entity to attach again';

CREATE FUNCTION salesops.rebuild_contract() RETURNS void
  LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_rebuild_contract';
COMMENT ON FUNCTION salesops.rebuild_contract() IS 'write the functions behind all contract views anew from salesops.source';

CREATE FUNCTION salesops.follow_ddl() RETURNS event_trigger
  LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_follow_ddl';
COMMENT ON FUNCTION salesops.follow_ddl() IS 'event trigger: contract views follow renames of the attached relations and their columns';
CREATE FUNCTION salesops.follow_drop() RETURNS event_trigger
  LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_follow_drop';
COMMENT ON FUNCTION salesops.follow_drop() IS 'event trigger: configuration that speaks of a dropped relation goes with it';

-- ---- the contract's columns: their one definition. Bodies are written by rebuild_contract() and attach() -----------------
SET LOCAL check_function_bodies = off;
CREATE FUNCTION salesops.lead_rows()
  RETURNS TABLE (lead_id text, created_at timestamptz, email text, phone text, first_name text, last_name text, company text,
                 title text, website text, country text, region text, city text, postal_code text, industry text,
                 employees numeric, annual_revenue numeric, source text, status text, owner_id text,
                 converted_at timestamptz, opportunity_id text)
  LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT';
COMMENT ON FUNCTION salesops.lead_rows() IS 'rows of the contract view lead, read from the attached relation';
CREATE FUNCTION salesops.contact_rows()
  RETURNS TABLE (contact_id text, account_id text, email text, phone text, first_name text, last_name text, title text,
                 is_primary boolean)
  LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT';
COMMENT ON FUNCTION salesops.contact_rows() IS 'rows of the contract view contact, read from the attached relation';
CREATE FUNCTION salesops.account_rows()
  RETURNS TABLE (account_id text, name text, domain text, parent_id text, industry text, country text, region text,
                 employees numeric, annual_revenue numeric, owner_id text, created_at timestamptz)
  LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT';
COMMENT ON FUNCTION salesops.account_rows() IS 'rows of the contract view account, read from the attached relation';
CREATE FUNCTION salesops.opportunity_rows()
  RETURNS TABLE (opportunity_id text, stage text, amount numeric, created_at timestamptz, closed_at timestamptz,
                 close_date date, name text, account_id text, owner_id text, currency text, probability double precision,
                 forecast_category text, type text, source text, next_step text, updated_at timestamptz)
  LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT';
COMMENT ON FUNCTION salesops.opportunity_rows() IS 'rows of the contract view opportunity, read from the attached relation';
CREATE FUNCTION salesops.opportunity_stage_change_rows()
  RETURNS TABLE (opportunity_id text, stage text, entered_at timestamptz, amount numeric, close_date date, change_number bigint)
  LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT';
COMMENT ON FUNCTION salesops.opportunity_stage_change_rows() IS
  'rows of the contract view opportunity_stage_change, read from the attached relation';
CREATE FUNCTION salesops.activity_rows()
  RETURNS TABLE (activity_id text, kind text, occurred_at timestamptz, lead_id text, contact_id text, account_id text,
                 opportunity_id text, rep_id text, outcome text)
  LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT';
COMMENT ON FUNCTION salesops.activity_rows() IS 'rows of the contract view activity, read from the attached relation';
CREATE FUNCTION salesops.sales_rep_rows()
  RETURNS TABLE (rep_id text, name text, email text, manager_id text, region text, is_active boolean, capacity integer)
  LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT';
COMMENT ON FUNCTION salesops.sales_rep_rows() IS 'rows of the contract view sales_rep, read from the attached relation';
CREATE FUNCTION salesops.commission_credit_rows()
  RETURNS TABLE (credit_id text, rep_id text, amount numeric, credited_on date, opportunity_id text, currency text,
                 product text, deal_type text, split numeric, segment text, event text, attributes jsonb)
  LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT';
COMMENT ON FUNCTION salesops.commission_credit_rows() IS
  'rows of the contract view commission_credit: the attached relation, or the won opportunities where none is attached';

CREATE VIEW salesops.lead WITH (security_invoker = true) AS SELECT * FROM salesops.lead_rows();
COMMENT ON VIEW salesops.lead IS 'contract view: leads, one row a person who may buy';
CREATE VIEW salesops.contact WITH (security_invoker = true) AS SELECT * FROM salesops.contact_rows();
COMMENT ON VIEW salesops.contact IS 'contract view: people at accounts';
CREATE VIEW salesops.account WITH (security_invoker = true) AS SELECT * FROM salesops.account_rows();
COMMENT ON VIEW salesops.account IS 'contract view: companies';
CREATE VIEW salesops.opportunity WITH (security_invoker = true) AS SELECT * FROM salesops.opportunity_rows();
COMMENT ON VIEW salesops.opportunity IS 'contract view: deals; amount in currency, close_date is the expected and closed_at the real end';
CREATE VIEW salesops.opportunity_stage_change WITH (security_invoker = true) AS
  SELECT * FROM salesops.opportunity_stage_change_rows();
COMMENT ON VIEW salesops.opportunity_stage_change IS
  'contract view: each entry of a deal into a stage; change_number orders what has the same time';
CREATE VIEW salesops.activity WITH (security_invoker = true) AS SELECT * FROM salesops.activity_rows();
COMMENT ON VIEW salesops.activity IS 'contract view: calls, mails, meetings, visits';
CREATE VIEW salesops.sales_rep WITH (security_invoker = true) AS SELECT * FROM salesops.sales_rep_rows();
COMMENT ON VIEW salesops.sales_rep IS 'contract view: sales people and their managers';
CREATE VIEW salesops.commission_credit WITH (security_invoker = true) AS SELECT * FROM salesops.commission_credit_rows();
COMMENT ON VIEW salesops.commission_credit IS 'contract view: what commissions are paid on; by default the won opportunities';

INSERT INTO salesops.access_right (level, kind, object) VALUES
  ('reader', 'table', 'salesops.lead'), ('reader', 'table', 'salesops.contact'), ('reader', 'table', 'salesops.account'),
  ('reader', 'table', 'salesops.opportunity'), ('reader', 'table', 'salesops.opportunity_stage_change'),
  ('reader', 'table', 'salesops.activity'), ('reader', 'table', 'salesops.sales_rep'),
  ('reader', 'table', 'salesops.commission_credit'), ('reader', 'table', 'salesops.source'),
  ('admin', 'function', 'salesops.attach(text,regclass,jsonb)'), ('admin', 'function', 'salesops.detach(text)'),
  ('admin', 'function', 'salesops.rebuild_contract()');

-- ---- progress -------------------------------------------------------------------------------------------------------
CREATE FUNCTION salesops.progress_rows(OUT pid integer, OUT role oid, OUT command text, OUT target text, OUT phase text,
                                       OUT done double precision, OUT total double precision, OUT started_at timestamptz)
  RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'salesops_progress_rows';
COMMENT ON FUNCTION salesops.progress_rows() IS 'rows of the view progress';
CREATE VIEW salesops.progress AS
  SELECT p.pid, pg_catalog.pg_get_userbyid(p.role) AS role, p.command, p.target, p.phase, p.done, p.total, p.started_at
    FROM salesops.progress_rows() p;
COMMENT ON VIEW salesops.progress IS
  'what long commands of salesops in this database are doing; others'' only for members of their role or of pg_read_all_stats';
INSERT INTO salesops.access_right (level, kind, object) VALUES ('reader', 'table', 'salesops.progress');

-- ---- starter tables for those who have none ---------------------------------------------------------------------------
CREATE FUNCTION salesops.create_crm(schema name DEFAULT 'crm', OUT entity text, OUT relation regclass) RETURNS SETOF record
  LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE ROWS 7 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  definition text;
BEGIN
  IF NOT EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = schema) THEN
    EXECUTE format('CREATE SCHEMA %I', schema);
  END IF;
  FOR entity, definition IN VALUES
    ('sales_rep', 'rep_id text PRIMARY KEY, name text, email text, manager_id text REFERENCES %1$I.sales_rep, region text,
       is_active boolean NOT NULL DEFAULT true, capacity integer'),
    ('account', 'account_id text PRIMARY KEY, name text NOT NULL, domain text, parent_id text REFERENCES %1$I.account, industry text,
       country text, region text, employees numeric, annual_revenue numeric, owner_id text REFERENCES %1$I.sales_rep,
       created_at timestamptz NOT NULL DEFAULT now()'),
    ('contact', 'contact_id text PRIMARY KEY, account_id text REFERENCES %1$I.account, email text, phone text, first_name text,
       last_name text, title text, is_primary boolean NOT NULL DEFAULT false'),
    ('opportunity', 'opportunity_id text PRIMARY KEY, stage text NOT NULL, amount numeric, created_at timestamptz NOT NULL DEFAULT now(),
       closed_at timestamptz, close_date date, name text, account_id text REFERENCES %1$I.account,
       owner_id text REFERENCES %1$I.sales_rep, currency text, probability double precision, forecast_category text, type text,
       source text, next_step text, updated_at timestamptz NOT NULL DEFAULT now()'),
    ('opportunity_stage_change', 'opportunity_id text NOT NULL REFERENCES %1$I.opportunity ON DELETE CASCADE, stage text NOT NULL,
       entered_at timestamptz NOT NULL DEFAULT now(), amount numeric, close_date date'),
    ('lead', 'lead_id text PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT now(), email text, phone text, first_name text,
       last_name text, company text, title text, website text, country text, region text, city text, postal_code text, industry text,
       employees numeric, annual_revenue numeric, source text, status text, owner_id text REFERENCES %1$I.sales_rep,
       converted_at timestamptz, opportunity_id text REFERENCES %1$I.opportunity'),
    ('activity', 'activity_id text PRIMARY KEY, kind text NOT NULL, occurred_at timestamptz NOT NULL DEFAULT now(),
       lead_id text REFERENCES %1$I.lead ON DELETE CASCADE, contact_id text REFERENCES %1$I.contact ON DELETE CASCADE,
       account_id text REFERENCES %1$I.account ON DELETE CASCADE, opportunity_id text REFERENCES %1$I.opportunity ON DELETE CASCADE,
       rep_id text REFERENCES %1$I.sales_rep, outcome text')
  LOOP
    EXECUTE format('CREATE TABLE %I.%I (' || format(definition, schema) || ')', schema, entity);
    relation := format('%I.%I', schema, entity)::regclass;
    PERFORM salesops.attach(entity, relation);
    RETURN NEXT;
  END LOOP;
  EXECUTE format('CREATE INDEX ON %1$I.opportunity_stage_change (opportunity_id, entered_at)', schema);
  EXECUTE format('CREATE INDEX ON %1$I.activity (lead_id)', schema);
  EXECUTE format('CREATE INDEX ON %1$I.activity (opportunity_id)', schema);
END
$$;
COMMENT ON FUNCTION salesops.create_crm(name) IS 'starter tables in a schema of yours, one an entity, already attached; for those who have none';
INSERT INTO salesops.access_right (level, kind, object) VALUES ('admin', 'function', 'salesops.create_crm(name)');
