-- A json column may hold what jsonb cannot (a \u0000, half a surrogate pair, a huge number): then it counts as a text.
CREATE FUNCTION concord.as_jsonb(have json) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN have::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN to_jsonb(have::text);
END
$$;
