/** Validation of render requests: a composition name, its props and a manifest. No part of a request is ever executed. */
import {Ajv} from 'ajv';
import {type CompositionOptions, DEFAULT_OPTIONS, type Manifest} from '../film/manifest.ts';
import {buildTimeline} from '../film/timeline.ts';

export const MAX_BODY_BYTES = 256 * 1024;
const MIN_FILM_SECONDS = 3;
const MAX_FILM_SECONDS = 180;

export type RenderRequest = {
	render_id: string;
	run_id: string | null;
	composition: string;
	props: Partial<CompositionOptions>;
	manifest: Manifest;
};

const textSchema = (maxLength: number) => ({type: 'string', maxLength});
const COLOR_SCHEMA = {type: 'string', pattern: '^#[0-9a-fA-F]{6}$'};
const objectSchema = (properties: object, required: string[]) => ({type: 'object', additionalProperties: false, properties, required});

/** The schema of the props of each composition. */
export const COMPOSITIONS: Record<string, object> = {
	shorts: objectSchema({title: textSchema(120), kicker: textSchema(40), end: textSchema(80), accent: COLOR_SCHEMA}, []),
	aismr: objectSchema({title: textSchema(120), accent: COLOR_SCHEMA}, []),
};

const MANIFEST_SCHEMA = objectSchema(
	{
		version: {const: 1},
		width: {type: 'integer', minimum: 16, maximum: 2160, multipleOf: 2},
		height: {type: 'integer', minimum: 16, maximum: 2160, multipleOf: 2},
		fps: {type: 'integer', minimum: 1, maximum: 60},
		crossfade_seconds: {type: 'number', minimum: 0, maximum: 5},
		loudness_lufs: {type: 'number', minimum: -40, maximum: 0},
		clips: {
			type: 'array',
			minItems: 1,
			maxItems: 24,
			items: objectSchema(
				{
					digest: {type: 'string', pattern: '^[0-9a-f]{64}$'},
					seconds: {type: 'number', exclusiveMinimum: 0, maximum: 60},
					overlay: textSchema(200),
				},
				['digest', 'seconds', 'overlay'],
			),
		},
	},
	['version', 'width', 'height', 'fps', 'crossfade_seconds', 'loudness_lufs', 'clips'],
);

const ajv = new Ajv({allErrors: true});
const isRenderRequest = ajv.compile<RenderRequest>(
	objectSchema(
		{
			render_id: {type: 'string', pattern: '^[A-Za-z0-9_-]{1,128}$'},
			run_id: {anyOf: [{type: 'string', pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'}, {type: 'null'}]},
			composition: {enum: Object.keys(COMPOSITIONS)},
			props: {type: 'object'},
			manifest: MANIFEST_SCHEMA,
		},
		['render_id', 'run_id', 'composition', 'props', 'manifest'],
	),
);
const propsValidators = Object.fromEntries(Object.entries(COMPOSITIONS).map(([name, schema]) => [name, ajv.compile(schema)]));

/** A request that fails validation. */
export class InvalidRequestError extends Error {}

/** Return the validated request in `body`. Throws InvalidRequestError, which names the invalid fields. */
export const parseRequest = (body: string): RenderRequest => {
	let request: unknown;
	try {
		request = JSON.parse(body);
	} catch {
		throw new InvalidRequestError('The body is not valid JSON.');
	}
	if (!isRenderRequest(request)) {
		throw new InvalidRequestError(`Invalid request: ${formatErrors(isRenderRequest.errors, '')}.`);
	}
	const validateProps = propsValidators[request.composition]!;
	if (!validateProps(request.props)) {
		throw new InvalidRequestError(`Invalid props for ${request.composition}: ${formatErrors(validateProps.errors, '/props')}.`);
	}
	const {manifest} = request;
	const seconds = manifest.clips.reduce((sum, clip) => sum + clip.seconds, -manifest.crossfade_seconds * (manifest.clips.length - 1));
	if (seconds < MIN_FILM_SECONDS || seconds > MAX_FILM_SECONDS) {
		throw new InvalidRequestError(`Film length must be ${MIN_FILM_SECONDS} to ${MAX_FILM_SECONDS} seconds, not ${seconds.toFixed(1)}.`);
	}
	try {
		buildTimeline(manifest);
	} catch (error) {
		throw new InvalidRequestError((error as Error).message);
	}
	return request;
};

/** Return the composition's options, with defaults for absent props. */
export const resolveOptions = (props: Partial<CompositionOptions>): CompositionOptions => ({...DEFAULT_OPTIONS, ...props});

const formatErrors = (errors: typeof isRenderRequest.errors, prefix: string): string =>
	(errors ?? [])
		.slice(0, 5)
		.map(({instancePath, message, params}) => {
			const extra = (params as {additionalProperty?: string}).additionalProperty;
			return `${prefix}${instancePath || (prefix ? '' : '/')} ${message}${extra ? ` (${extra.slice(0, 40)})` : ''}`;
		})
		.join('; ');
