-- Access: revoke from PUBLIC what the domains registered, and hand it out by level. Last, so that every object is there.

CREATE FUNCTION salesops.grant_access(role regrole, level text) RETURNS void
  LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  wanted text[] := CASE level WHEN 'reader' THEN '{reader}' WHEN 'operator' THEN '{reader,operator}'
                              WHEN 'admin' THEN '{reader,operator,admin}' END;
  item record;
BEGIN
  IF wanted IS NULL THEN
    RAISE EXCEPTION 'access level "%" does not exist', level
      USING ERRCODE = 'invalid_parameter_value', HINT = 'The levels are: reader, operator, admin; each includes those before it.';
  END IF;
  EXECUTE format('GRANT USAGE ON SCHEMA salesops TO %s', role);
  FOR item IN SELECT a.kind, a.object FROM salesops.access_right a WHERE a.level = ANY (wanted) ORDER BY 1, 2 LOOP
    EXECUTE format('GRANT %s ON %s %s TO %s', CASE item.kind WHEN 'table' THEN 'SELECT' ELSE 'EXECUTE' END,
                   item.kind, item.object, role);
  END LOOP;
END
$$;
COMMENT ON FUNCTION salesops.grant_access(regrole, text) IS
  'give a role what a reader (views), an operator (also: score, calculate, run) or an admin (also: definitions) needs';

CREATE FUNCTION salesops.revoke_access(role regrole) RETURNS void
  LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  item record;
BEGIN
  FOR item IN SELECT a.kind, a.object FROM salesops.access_right a ORDER BY 1, 2 LOOP
    EXECUTE format('REVOKE ALL ON %s %s FROM %s', item.kind, item.object, role);
  END LOOP;
END
$$;
COMMENT ON FUNCTION salesops.revoke_access(regrole) IS 'take back all that grant_access gave a role';
INSERT INTO salesops.access_right (level, kind, object) VALUES
  ('admin', 'function', 'salesops.grant_access(regrole,text)'), ('admin', 'function', 'salesops.revoke_access(regrole)');

DO $$
DECLARE
  item record;
BEGIN
  FOR item IN SELECT a.kind, a.object FROM salesops.access_right a WHERE a.kind <> 'table' ORDER BY 1, 2 LOOP
    EXECUTE format('REVOKE ALL ON %s %s FROM PUBLIC', item.kind, item.object);
  END LOOP;
END
$$;

-- the functions behind the contract views get their first bodies; then the event triggers may fire
SELECT salesops.rebuild_contract();
CREATE EVENT TRIGGER salesops_follow_ddl ON ddl_command_end
  WHEN TAG IN ('ALTER TABLE', 'ALTER VIEW', 'ALTER MATERIALIZED VIEW', 'ALTER FOREIGN TABLE', 'ALTER SCHEMA')
  EXECUTE FUNCTION salesops.follow_ddl();
COMMENT ON EVENT TRIGGER salesops_follow_ddl IS 'contract views follow renames of the attached relations';
CREATE EVENT TRIGGER salesops_follow_drop ON sql_drop EXECUTE FUNCTION salesops.follow_drop();
COMMENT ON EVENT TRIGGER salesops_follow_drop IS 'configuration goes with the relation it speaks of';
