package errcode

// The client-visible error numbers. Up to 999 they are Tarantool's, 10000-10099 Picodata's, from 12000 ours.
const (
	Unknown                       Code = 0
	IllegalParams                 Code = 1
	MemoryIssue                   Code = 2
	TupleFound                    Code = 3
	Unsupported                   Code = 5
	Readonly                      Code = 7
	Injection                     Code = 8
	CreateSpace                   Code = 9
	SpaceExists                   Code = 10
	DropSpace                     Code = 11
	AlterSpace                    Code = 12
	IndexType                     Code = 13
	ModifyIndex                   Code = 14
	LastDrop                      Code = 15
	TupleFormatLimit              Code = 16
	DropPrimaryKey                Code = 17
	KeyPartType                   Code = 18
	ExactMatch                    Code = 19
	InvalidMsgPack                Code = 20
	TupleNotArray                 Code = 22
	FieldType                     Code = 23
	IndexPartTypeMismatch         Code = 24
	UpdateSplice                  Code = 25
	UpdateArgType                 Code = 26
	FormatMismatchIndexPart       Code = 27
	UnknownUpdateOp               Code = 28
	UpdateField                   Code = 29
	FunctionTxActive              Code = 30
	KeyPartCount                  Code = 31
	ProcLua                       Code = 32
	NoSuchProc                    Code = 33
	NoSuchTrigger                 Code = 34
	NoSuchIndexID                 Code = 35
	NoSuchSpace                   Code = 36
	NoSuchFieldNo                 Code = 37
	ExactFieldCount               Code = 38
	FieldMissing                  Code = 39
	WALIO                         Code = 40
	MoreThanOneTuple              Code = 41
	AccessDenied                  Code = 42
	CreateUser                    Code = 43
	DropUser                      Code = 44
	NoSuchUser                    Code = 45
	UserExists                    Code = 46
	CredsMismatch                 Code = 47
	UnknownRequestType            Code = 48
	UnknownSchemaObject           Code = 49
	CreateFunction                Code = 50
	NoSuchFunction                Code = 51
	FunctionExists                Code = 52
	BeforeReplaceRet              Code = 53
	MultistatementTransaction     Code = 54
	TriggerExists                 Code = 55
	UserMax                       Code = 56
	NoSuchEngine                  Code = 57
	ReloadCfg                     Code = 58
	Cfg                           Code = 59
	SavepointEmptyTx              Code = 60
	NoSuchSavepoint               Code = 61
	UnknownReplica                Code = 62
	ReplicasetUUIDMismatch        Code = 63
	InvalidUUID                   Code = 64
	ReplicasetUUIDIsRO            Code = 65
	InstanceUUIDMismatch          Code = 66
	ReplicaIDIsReserved           Code = 67
	MissingRequestField           Code = 69
	Identifier                    Code = 70
	DropFunction                  Code = 71
	IteratorType                  Code = 72
	ReplicaMax                    Code = 73
	NoConnection                  Code = 77
	Timeout                       Code = 78
	ActiveTransaction             Code = 79
	CursorNoTransaction           Code = 80
	NoSuchRole                    Code = 82
	RoleExists                    Code = 83
	CreateRole                    Code = 84
	IndexExists                   Code = 85
	SessionClosed                 Code = 86
	RoleLoop                      Code = 87
	Grant                         Code = 88
	PrivGranted                   Code = 89
	RoleGranted                   Code = 90
	PrivNotGranted                Code = 91
	RoleNotGranted                Code = 92
	MissingSnapshot               Code = 93
	CantUpdatePrimaryKey          Code = 94
	UpdateIntegerOverflow         Code = 95
	GuestUserPassword             Code = 96
	TransactionConflict           Code = 97
	UnsupportedPriv               Code = 98
	LoadFunction                  Code = 99
	FunctionLanguage              Code = 100
	RtreeRect                     Code = 101
	ProcC                         Code = 102
	Protocol                      Code = 104
	WrongIndexRecord              Code = 106
	WrongIndexParts               Code = 107
	WrongIndexOptions             Code = 108
	WrongSchemaVersion            Code = 109
	MemtxMaxTupleSize             Code = 110
	WrongSpaceOptions             Code = 111
	UnsupportedIndexFeature       Code = 112
	ViewIsRO                      Code = 113
	NoTransaction                 Code = 114
	System                        Code = 115
	Loading                       Code = 116
	ConnectionToSelf              Code = 117
	Compression                   Code = 119
	CheckpointInProgress          Code = 120
	SubStmtMax                    Code = 121
	CommitInSubStmt               Code = 122
	RollbackInSubStmt             Code = 123
	Decompression                 Code = 124
	InvalidXlogType               Code = 125
	AlreadyRunning                Code = 126
	IndexFieldCountLimit          Code = 127
	LocalInstanceIDIsReadOnly     Code = 128
	BackupInProgress              Code = 129
	ReadViewAborted               Code = 130
	InvalidIndexFile              Code = 131
	InvalidRunFile                Code = 132
	InvalidVylogFile              Code = 133
	CascadeRollback               Code = 134
	VyQuotaTimeout                Code = 135
	PartialKey                    Code = 136
	TruncateSystemSpace           Code = 137
	LoadModule                    Code = 138
	VinylMaxTupleSize             Code = 139
	WrongDDVersion                Code = 140
	WrongSpaceFormat              Code = 141
	CreateSequence                Code = 142
	AlterSequence                 Code = 143
	DropSequence                  Code = 144
	NoSuchSequence                Code = 145
	SequenceExists                Code = 146
	SequenceOverflow              Code = 147
	NoSuchIndexName               Code = 148
	SpaceFieldIsDuplicate         Code = 149
	CantCreateCollation           Code = 150
	WrongCollationOptions         Code = 151
	NullablePrimary               Code = 152
	NoSuchFieldNameInSpace        Code = 153
	TransactionYield              Code = 154
	NoSuchGroup                   Code = 155
	SQLBindType                   Code = 157
	SQLBindParameterMax           Code = 158
	SQLExecute                    Code = 159
	UpdateDecimalOverflow         Code = 160
	SQLBindNotFound               Code = 161
	ActionMismatch                Code = 162
	ViewMissingSQL                Code = 163
	ForeignKeyConstraint          Code = 164
	NoSuchModule                  Code = 165
	NoSuchCollation               Code = 166
	CreateFKConstraint            Code = 167
	NoSuchConstraint              Code = 169
	ConstraintExists              Code = 170
	SQLTypeMismatch               Code = 171
	RowidOverflow                 Code = 172
	DropCollation                 Code = 173
	IllegalCollationMix           Code = 174
	SQLNoSuchPragma               Code = 175
	SQLCantResolveField           Code = 176
	IndexExistsInSpace            Code = 177
	InconsistentTypes             Code = 178
	SQLSyntaxWithPos              Code = 179
	SQLStackOverflow              Code = 180
	SQLSelectWildcard             Code = 181
	SQLStatementEmpty             Code = 182
	SQLKeywordIsReserved          Code = 183
	SQLSyntaxNearToken            Code = 184
	SQLUnknownToken               Code = 185
	SQLParserGeneric              Code = 186
	SQLColumnCountMax             Code = 188
	HexLiteralMax                 Code = 189
	IntLiteralMax                 Code = 190
	SQLParserLimit                Code = 191
	IndexDefUnsupported           Code = 192
	MultikeyIndexMismatch         Code = 194
	CreateCKConstraint            Code = 195
	SQLColumnCount                Code = 197
	FuncIndexFunc                 Code = 198
	FuncIndexFormat               Code = 199
	FuncIndexParts                Code = 200
	NoSuchFieldName               Code = 201
	FuncWrongArgCount             Code = 202
	BootstrapReadonly             Code = 203
	SQLFuncWrongRetCount          Code = 204
	FuncInvalidReturnType         Code = 205
	SQLParserGenericWithPos       Code = 206
	ReplicaNotAnon                Code = 207
	CannotRegister                Code = 208
	SessionSettingInvalidValue    Code = 209
	SQLPrepare                    Code = 210
	WrongQueryID                  Code = 211
	SequenceNotStarted            Code = 212
	NoSuchSessionSetting          Code = 213
	UncommittedForeignSyncTxns    Code = 214
	SyncQuorumTimeout             Code = 216
	SyncRollback                  Code = 217
	TupleMetadataIsTooBig         Code = 218
	XlogGap                       Code = 219
	TooEarlySubscribe             Code = 220
	SQLCantAddAutoinc             Code = 221
	QuorumWait                    Code = 222
	InterferingPromote            Code = 223
	ElectionDisabled              Code = 224
	TxnRollback                   Code = 225
	NotLeader                     Code = 226
	SyncQueueUnclaimed            Code = 227
	SyncQueueForeign              Code = 228
	UnableToProcessInStream       Code = 229
	UnableToProcessOutOfStream    Code = 230
	TransactionTimeout            Code = 231
	ActiveTimer                   Code = 232
	TupleFieldCountLimit          Code = 233
	CreateConstraint              Code = 234
	FieldConstraintFailed         Code = 235
	TupleConstraintFailed         Code = 236
	CreateForeignKey              Code = 237
	ForeignKeyIntegrity           Code = 238
	FieldForeignKeyFailed         Code = 239
	ComplexForeignKeyFailed       Code = 240
	WrongSpaceUpgradeOptions      Code = 241
	NoElectionQuorum              Code = 242
	SSL                           Code = 243
	SplitBrain                    Code = 244
	OldTerm                       Code = 245
	InterferingElections          Code = 246
	IteratorPosition              Code = 247
	DefaultValueType              Code = 248
	UnknownAuthMethod             Code = 249
	InvalidAuthData               Code = 250
	InvalidAuthRequest            Code = 251
	WeakPassword                  Code = 252
	OldPassword                   Code = 253
	NoSuchSession                 Code = 254
	WrongSessionType              Code = 255
	PasswordExpired               Code = 256
	AuthDelay                     Code = 257
	AuthRequired                  Code = 258
	SQLSeqScan                    Code = 259
	NoSuchEvent                   Code = 260
	BootstrapNotUnanimous         Code = 261
	CantCheckBootstrapLeader      Code = 262
	BootstrapConnectionNotToAll   Code = 263
	NilUUID                       Code = 264
	WrongFunctionOptions          Code = 265
	MissingSystemSpaces           Code = 266
	ClusterNameMismatch           Code = 267
	ReplicasetNameMismatch        Code = 268
	InstanceNameDuplicate         Code = 269
	InstanceNameMismatch          Code = 270
	SchemaNeedsUpgrade            Code = 271
	SchemaUpgradeInProgress       Code = 272
	Deprecated                    Code = 273
	Unconfigured                  Code = 274
	CreateDefaultFunc             Code = 275
	DefaultFuncFailed             Code = 276
	InvalidDec                    Code = 277
	InAnotherPromote              Code = 278
	Shutdown                      Code = 279
	FieldValueOutOfRange          Code = 280
	ReplicasetNotFound            Code = 281
	ReplicasetNoWritable          Code = 282
	ReplicasetMoreThanOneWritable Code = 283
	TxnCommit                     Code = 284
	ReadViewBusy                  Code = 285
	ReadViewClosed                Code = 286
	WALQueueFull                  Code = 287
	InvalidVClock                 Code = 288
	SyncQueueFull                 Code = 289
	KeyPartValueOutOfRange        Code = 290
	ReplicaGC                     Code = 291
	AlienEngine                   Code = 292
	MVCCUnavailable               Code = 293
	CantUpgradeIndexedField       Code = 294
	SyncTimeout                   Code = 295
	FieldIrrepresentableValue     Code = 296
	KeyPartIrrepresentableValue   Code = 297
	InvalidSortdataFile           Code = 298
	NoSuchThread                  Code = 299
	UnableToProcessInThread       Code = 300
	DictOverflow                  Code = 301
	NoSuchThreadGroup             Code = 302
	XlogNotFound                  Code = 303
	RecoveryPointTxnLastRow       Code = 304
	NoSuchReadView                Code = 305
	Other                         Code = 10000
	NotALeader                    Code = 10001
	TermMismatch                  Code = 10003
	RaftLogUnavailable            Code = 10004
	RaftLogCompacted              Code = 10005
	CASNoSuchRaftIndex            Code = 10006
	CASConflictFound              Code = 10007
	CASEntryTermMismatch          Code = 10008
	CASTableNotAllowed            Code = 10009
	CASInvalidOpKind              Code = 10010
	NoSuchInstance                Code = 10016
	NoSuchReplicaset              Code = 10017
	LeaderUnknown                 Code = 10018
	InstanceExpelled              Code = 10020
	Uninitialized                 Code = 10024
	ProposalDropped               Code = 10027
	UnknownOutcome                Code = 12001
	DiskFull                      Code = 12002
	Poisoned                      Code = 12003
	NotImplemented                Code = 12004
	TooBig                        Code = 12005
	Overloaded                    Code = 12006
)

// table holds the symbolic name and the message template of every number.
var table = map[Code]entry{
	Unknown:                       {"UNKNOWN", ""},
	IllegalParams:                 {"ILLEGAL_PARAMS", "Illegal parameters, %s"},
	MemoryIssue:                   {"MEMORY_ISSUE", "Failed to allocate %d bytes in %s for %s"},
	TupleFound:                    {"TUPLE_FOUND", "Duplicate key exists in unique index '%s' in space '%s'"},
	Unsupported:                   {"UNSUPPORTED", "%s does not support %s"},
	Readonly:                      {"READONLY", "Can't modify data because this instance is in read-only mode."},
	Injection:                     {"INJECTION", ""},
	CreateSpace:                   {"CREATE_SPACE", "Failed to create space '%s': %s"},
	SpaceExists:                   {"SPACE_EXISTS", "Space '%s' already exists"},
	DropSpace:                     {"DROP_SPACE", "Can't drop space '%s': %s"},
	AlterSpace:                    {"ALTER_SPACE", "Can't modify space '%s': %s"},
	IndexType:                     {"INDEX_TYPE", "Unsupported index type supplied for index '%s' in space '%s'"},
	ModifyIndex:                   {"MODIFY_INDEX", "Can't create or modify index '%s' in space '%s': %s"},
	LastDrop:                      {"LAST_DROP", "Can't drop the primary key in a system space, space '%s'"},
	TupleFormatLimit:              {"TUPLE_FORMAT_LIMIT", "Tuple format limit reached: %d"},
	DropPrimaryKey:                {"DROP_PRIMARY_KEY", "Can't drop primary key in space '%s' while secondary keys exist"},
	KeyPartType:                   {"KEY_PART_TYPE", "Supplied key type of part %d does not match index part type: expected %s"},
	ExactMatch:                    {"EXACT_MATCH", "Invalid key part count in an exact match (expected %d, got %d)"},
	InvalidMsgPack:                {"INVALID_MSGPACK", "Invalid MsgPack - %s"},
	TupleNotArray:                 {"TUPLE_NOT_ARRAY", "Tuple/Key must be MsgPack array"},
	FieldType:                     {"FIELD_TYPE", "Tuple field %s type does not match one required by operation: expected %s"},
	IndexPartTypeMismatch:         {"INDEX_PART_TYPE_MISMATCH", "Field %s has type '%s' in one index, but type '%s' in another"},
	UpdateSplice:                  {"UPDATE_SPLICE", "SPLICE error on field %s: %s"},
	UpdateArgType:                 {"UPDATE_ARG_TYPE", "Argument type in operation '%c' on field %s does not match field type: expected %s"},
	FormatMismatchIndexPart:       {"FORMAT_MISMATCH_INDEX_PART", "Field %s has type '%s' in space format, but type '%s' in index definition"},
	UnknownUpdateOp:               {"UNKNOWN_UPDATE_OP", "Unknown UPDATE operation #%d: %s"},
	UpdateField:                   {"UPDATE_FIELD", "Field %s UPDATE error: %s"},
	FunctionTxActive:              {"FUNCTION_TX_ACTIVE", ""},
	KeyPartCount:                  {"KEY_PART_COUNT", "Invalid key part count (expected [0..%d], got %d)"},
	ProcLua:                       {"PROC_LUA", "%s"},
	NoSuchProc:                    {"NO_SUCH_PROC", "Procedure '%s' is not defined"},
	NoSuchTrigger:                 {"NO_SUCH_TRIGGER", ""},
	NoSuchIndexID:                 {"NO_SUCH_INDEX_ID", "No index #%d is defined in space '%s'"},
	NoSuchSpace:                   {"NO_SUCH_SPACE", "Space '%s' does not exist"},
	NoSuchFieldNo:                 {"NO_SUCH_FIELD_NO", "Field %d was not found in the tuple"},
	ExactFieldCount:               {"EXACT_FIELD_COUNT", "Tuple field count %d does not match space field count %d"},
	FieldMissing:                  {"FIELD_MISSING", "Tuple field %s required by space format is missing"},
	WALIO:                         {"WAL_IO", "Failed to write to disk"},
	MoreThanOneTuple:              {"MORE_THAN_ONE_TUPLE", "Get() doesn't support partial keys and non-unique indexes"},
	AccessDenied:                  {"ACCESS_DENIED", "%s access to %s '%s' is denied for user '%s'"},
	CreateUser:                    {"CREATE_USER", "Failed to create user '%s': %s"},
	DropUser:                      {"DROP_USER", "Failed to drop user or role '%s': %s"},
	NoSuchUser:                    {"NO_SUCH_USER", "User '%s' is not found"},
	UserExists:                    {"USER_EXISTS", "User '%s' already exists"},
	CredsMismatch:                 {"CREDS_MISMATCH", "Incorrect password supplied for user '%s'"},
	UnknownRequestType:            {"UNKNOWN_REQUEST_TYPE", "Unknown request type %d"},
	UnknownSchemaObject:           {"UNKNOWN_SCHEMA_OBJECT", "Unknown object type '%s'"},
	CreateFunction:                {"CREATE_FUNCTION", ""},
	NoSuchFunction:                {"NO_SUCH_FUNCTION", ""},
	FunctionExists:                {"FUNCTION_EXISTS", ""},
	BeforeReplaceRet:              {"BEFORE_REPLACE_RET", ""},
	MultistatementTransaction:     {"MULTISTATEMENT_TRANSACTION", "%s does not support %s"},
	TriggerExists:                 {"TRIGGER_EXISTS", ""},
	UserMax:                       {"USER_MAX", "A limit on the total number of users has been reached: %d"},
	NoSuchEngine:                  {"NO_SUCH_ENGINE", "Space engine '%s' does not exist"},
	ReloadCfg:                     {"RELOAD_CFG", ""},
	Cfg:                           {"CFG", ""},
	SavepointEmptyTx:              {"SAVEPOINT_EMPTY_TX", ""},
	NoSuchSavepoint:               {"NO_SUCH_SAVEPOINT", ""},
	UnknownReplica:                {"UNKNOWN_REPLICA", ""},
	ReplicasetUUIDMismatch:        {"REPLICASET_UUID_MISMATCH", ""},
	InvalidUUID:                   {"INVALID_UUID", ""},
	ReplicasetUUIDIsRO:            {"REPLICASET_UUID_IS_RO", ""},
	InstanceUUIDMismatch:          {"INSTANCE_UUID_MISMATCH", ""},
	ReplicaIDIsReserved:           {"REPLICA_ID_IS_RESERVED", ""},
	MissingRequestField:           {"MISSING_REQUEST_FIELD", "Missing mandatory field '%s' in request"},
	Identifier:                    {"IDENTIFIER", "Invalid identifier '%s' (expected printable symbols only or it is too long)"},
	DropFunction:                  {"DROP_FUNCTION", ""},
	IteratorType:                  {"ITERATOR_TYPE", "Wrong iterator type: %s"},
	ReplicaMax:                    {"REPLICA_MAX", ""},
	NoConnection:                  {"NO_CONNECTION", "Connection is not established"},
	Timeout:                       {"TIMEOUT", "Timeout exceeded"},
	ActiveTransaction:             {"ACTIVE_TRANSACTION", "Operation is not permitted when there is an active transaction "},
	CursorNoTransaction:           {"CURSOR_NO_TRANSACTION", ""},
	NoSuchRole:                    {"NO_SUCH_ROLE", ""},
	RoleExists:                    {"ROLE_EXISTS", ""},
	CreateRole:                    {"CREATE_ROLE", ""},
	IndexExists:                   {"INDEX_EXISTS", "Index with id %d already exists"},
	SessionClosed:                 {"SESSION_CLOSED", ""},
	RoleLoop:                      {"ROLE_LOOP", ""},
	Grant:                         {"GRANT", "Incorrect grant arguments: %s"},
	PrivGranted:                   {"PRIV_GRANTED", "User '%s' already has %s access on %s '%s'"},
	RoleGranted:                   {"ROLE_GRANTED", ""},
	PrivNotGranted:                {"PRIV_NOT_GRANTED", ""},
	RoleNotGranted:                {"ROLE_NOT_GRANTED", ""},
	MissingSnapshot:               {"MISSING_SNAPSHOT", ""},
	CantUpdatePrimaryKey:          {"CANT_UPDATE_PRIMARY_KEY", "Attempt to modify a tuple field which is part of index '%s' in space '%s'"},
	UpdateIntegerOverflow:         {"UPDATE_INTEGER_OVERFLOW", "Integer overflow when performing '%c' operation on field %s"},
	GuestUserPassword:             {"GUEST_USER_PASSWORD", ""},
	TransactionConflict:           {"TRANSACTION_CONFLICT", "Transaction has been aborted by conflict"},
	UnsupportedPriv:               {"UNSUPPORTED_PRIV", ""},
	LoadFunction:                  {"LOAD_FUNCTION", ""},
	FunctionLanguage:              {"FUNCTION_LANGUAGE", ""},
	RtreeRect:                     {"RTREE_RECT", ""},
	ProcC:                         {"PROC_C", ""},
	Protocol:                      {"PROTOCOL", ""},
	WrongIndexRecord:              {"WRONG_INDEX_RECORD", "Wrong record in _index space: got {%s}, expected {%s}"},
	WrongIndexParts:               {"WRONG_INDEX_PARTS", "Wrong index part %d: %s"},
	WrongIndexOptions:             {"WRONG_INDEX_OPTIONS", "Wrong index options (field %d): %s"},
	WrongSchemaVersion:            {"WRONG_SCHEMA_VERSION", "Wrong schema version, current: %d, in request: %d"},
	MemtxMaxTupleSize:             {"MEMTX_MAX_TUPLE_SIZE", "Failed to allocate %d bytes for tuple: tuple is too large. Check 'memtx_max_tuple_size' configuration option."},
	WrongSpaceOptions:             {"WRONG_SPACE_OPTIONS", "Wrong space options (field %d): %s"},
	UnsupportedIndexFeature:       {"UNSUPPORTED_INDEX_FEATURE", "Index '%s' (%s) of space '%s' (%s) does not support %s"},
	ViewIsRO:                      {"VIEW_IS_RO", "View '%s' is read-only"},
	NoTransaction:                 {"NO_TRANSACTION", ""},
	System:                        {"SYSTEM", ""},
	Loading:                       {"LOADING", "Instance is in state %s"},
	ConnectionToSelf:              {"CONNECTION_TO_SELF", ""},
	Compression:                   {"COMPRESSION", ""},
	CheckpointInProgress:          {"CHECKPOINT_IN_PROGRESS", "Snapshot is already in progress"},
	SubStmtMax:                    {"SUB_STMT_MAX", ""},
	CommitInSubStmt:               {"COMMIT_IN_SUB_STMT", ""},
	RollbackInSubStmt:             {"ROLLBACK_IN_SUB_STMT", ""},
	Decompression:                 {"DECOMPRESSION", ""},
	InvalidXlogType:               {"INVALID_XLOG_TYPE", ""},
	AlreadyRunning:                {"ALREADY_RUNNING", ""},
	IndexFieldCountLimit:          {"INDEX_FIELD_COUNT_LIMIT", "Indexed field count limit reached: %d indexed fields"},
	LocalInstanceIDIsReadOnly:     {"LOCAL_INSTANCE_ID_IS_READ_ONLY", ""},
	BackupInProgress:              {"BACKUP_IN_PROGRESS", ""},
	ReadViewAborted:               {"READ_VIEW_ABORTED", ""},
	InvalidIndexFile:              {"INVALID_INDEX_FILE", ""},
	InvalidRunFile:                {"INVALID_RUN_FILE", ""},
	InvalidVylogFile:              {"INVALID_VYLOG_FILE", ""},
	CascadeRollback:               {"CASCADE_ROLLBACK", ""},
	VyQuotaTimeout:                {"VY_QUOTA_TIMEOUT", ""},
	PartialKey:                    {"PARTIAL_KEY", "%s index %s does not support selects via a partial key (expected %d parts, got %d). Please Consider changing index type to TREE."},
	TruncateSystemSpace:           {"TRUNCATE_SYSTEM_SPACE", "Can't truncate a system space, space '%s'"},
	LoadModule:                    {"LOAD_MODULE", ""},
	VinylMaxTupleSize:             {"VINYL_MAX_TUPLE_SIZE", ""},
	WrongDDVersion:                {"WRONG_DD_VERSION", ""},
	WrongSpaceFormat:              {"WRONG_SPACE_FORMAT", "Wrong space format (field %d): %s"},
	CreateSequence:                {"CREATE_SEQUENCE", ""},
	AlterSequence:                 {"ALTER_SEQUENCE", ""},
	DropSequence:                  {"DROP_SEQUENCE", ""},
	NoSuchSequence:                {"NO_SUCH_SEQUENCE", ""},
	SequenceExists:                {"SEQUENCE_EXISTS", ""},
	SequenceOverflow:              {"SEQUENCE_OVERFLOW", ""},
	NoSuchIndexName:               {"NO_SUCH_INDEX_NAME", "No index '%s' is defined in space '%s'"},
	SpaceFieldIsDuplicate:         {"SPACE_FIELD_IS_DUPLICATE", "Space field '%s' is duplicate"},
	CantCreateCollation:           {"CANT_CREATE_COLLATION", ""},
	WrongCollationOptions:         {"WRONG_COLLATION_OPTIONS", ""},
	NullablePrimary:               {"NULLABLE_PRIMARY", "Primary index of space '%s' can not contain nullable parts"},
	NoSuchFieldNameInSpace:        {"NO_SUCH_FIELD_NAME_IN_SPACE", "Field '%s' was not found in space '%s' format"},
	TransactionYield:              {"TRANSACTION_YIELD", "Transaction has been aborted by a fiber yield"},
	NoSuchGroup:                   {"NO_SUCH_GROUP", ""},
	SQLBindType:                   {"SQL_BIND_TYPE", ""},
	SQLBindParameterMax:           {"SQL_BIND_PARAMETER_MAX", ""},
	SQLExecute:                    {"SQL_EXECUTE", ""},
	UpdateDecimalOverflow:         {"UPDATE_DECIMAL_OVERFLOW", "Decimal overflow when performing operation '%c' on field %s"},
	SQLBindNotFound:               {"SQL_BIND_NOT_FOUND", ""},
	ActionMismatch:                {"ACTION_MISMATCH", "Field %d contains %s in space format, but %s in index parts"},
	ViewMissingSQL:                {"VIEW_MISSING_SQL", ""},
	ForeignKeyConstraint:          {"FOREIGN_KEY_CONSTRAINT", ""},
	NoSuchModule:                  {"NO_SUCH_MODULE", ""},
	NoSuchCollation:               {"NO_SUCH_COLLATION", ""},
	CreateFKConstraint:            {"CREATE_FK_CONSTRAINT", ""},
	NoSuchConstraint:              {"NO_SUCH_CONSTRAINT", ""},
	ConstraintExists:              {"CONSTRAINT_EXISTS", ""},
	SQLTypeMismatch:               {"SQL_TYPE_MISMATCH", ""},
	RowidOverflow:                 {"ROWID_OVERFLOW", ""},
	DropCollation:                 {"DROP_COLLATION", ""},
	IllegalCollationMix:           {"ILLEGAL_COLLATION_MIX", ""},
	SQLNoSuchPragma:               {"SQL_NO_SUCH_PRAGMA", ""},
	SQLCantResolveField:           {"SQL_CANT_RESOLVE_FIELD", ""},
	IndexExistsInSpace:            {"INDEX_EXISTS_IN_SPACE", ""},
	InconsistentTypes:             {"INCONSISTENT_TYPES", ""},
	SQLSyntaxWithPos:              {"SQL_SYNTAX_WITH_POS", ""},
	SQLStackOverflow:              {"SQL_STACK_OVERFLOW", ""},
	SQLSelectWildcard:             {"SQL_SELECT_WILDCARD", ""},
	SQLStatementEmpty:             {"SQL_STATEMENT_EMPTY", ""},
	SQLKeywordIsReserved:          {"SQL_KEYWORD_IS_RESERVED", ""},
	SQLSyntaxNearToken:            {"SQL_SYNTAX_NEAR_TOKEN", ""},
	SQLUnknownToken:               {"SQL_UNKNOWN_TOKEN", ""},
	SQLParserGeneric:              {"SQL_PARSER_GENERIC", ""},
	SQLColumnCountMax:             {"SQL_COLUMN_COUNT_MAX", ""},
	HexLiteralMax:                 {"HEX_LITERAL_MAX", ""},
	IntLiteralMax:                 {"INT_LITERAL_MAX", ""},
	SQLParserLimit:                {"SQL_PARSER_LIMIT", ""},
	IndexDefUnsupported:           {"INDEX_DEF_UNSUPPORTED", ""},
	MultikeyIndexMismatch:         {"MULTIKEY_INDEX_MISMATCH", ""},
	CreateCKConstraint:            {"CREATE_CK_CONSTRAINT", ""},
	SQLColumnCount:                {"SQL_COLUMN_COUNT", ""},
	FuncIndexFunc:                 {"FUNC_INDEX_FUNC", ""},
	FuncIndexFormat:               {"FUNC_INDEX_FORMAT", ""},
	FuncIndexParts:                {"FUNC_INDEX_PARTS", ""},
	NoSuchFieldName:               {"NO_SUCH_FIELD_NAME", "Field '%s' was not found in the tuple"},
	FuncWrongArgCount:             {"FUNC_WRONG_ARG_COUNT", ""},
	BootstrapReadonly:             {"BOOTSTRAP_READONLY", ""},
	SQLFuncWrongRetCount:          {"SQL_FUNC_WRONG_RET_COUNT", ""},
	FuncInvalidReturnType:         {"FUNC_INVALID_RETURN_TYPE", ""},
	SQLParserGenericWithPos:       {"SQL_PARSER_GENERIC_WITH_POS", ""},
	ReplicaNotAnon:                {"REPLICA_NOT_ANON", ""},
	CannotRegister:                {"CANNOT_REGISTER", ""},
	SessionSettingInvalidValue:    {"SESSION_SETTING_INVALID_VALUE", ""},
	SQLPrepare:                    {"SQL_PREPARE", ""},
	WrongQueryID:                  {"WRONG_QUERY_ID", ""},
	SequenceNotStarted:            {"SEQUENCE_NOT_STARTED", ""},
	NoSuchSessionSetting:          {"NO_SUCH_SESSION_SETTING", ""},
	UncommittedForeignSyncTxns:    {"UNCOMMITTED_FOREIGN_SYNC_TXNS", ""},
	SyncQuorumTimeout:             {"SYNC_QUORUM_TIMEOUT", ""},
	SyncRollback:                  {"SYNC_ROLLBACK", ""},
	TupleMetadataIsTooBig:         {"TUPLE_METADATA_IS_TOO_BIG", ""},
	XlogGap:                       {"XLOG_GAP", ""},
	TooEarlySubscribe:             {"TOO_EARLY_SUBSCRIBE", ""},
	SQLCantAddAutoinc:             {"SQL_CANT_ADD_AUTOINC", ""},
	QuorumWait:                    {"QUORUM_WAIT", ""},
	InterferingPromote:            {"INTERFERING_PROMOTE", ""},
	ElectionDisabled:              {"ELECTION_DISABLED", ""},
	TxnRollback:                   {"TXN_ROLLBACK", ""},
	NotLeader:                     {"NOT_LEADER", ""},
	SyncQueueUnclaimed:            {"SYNC_QUEUE_UNCLAIMED", ""},
	SyncQueueForeign:              {"SYNC_QUEUE_FOREIGN", ""},
	UnableToProcessInStream:       {"UNABLE_TO_PROCESS_IN_STREAM", ""},
	UnableToProcessOutOfStream:    {"UNABLE_TO_PROCESS_OUT_OF_STREAM", ""},
	TransactionTimeout:            {"TRANSACTION_TIMEOUT", ""},
	ActiveTimer:                   {"ACTIVE_TIMER", ""},
	TupleFieldCountLimit:          {"TUPLE_FIELD_COUNT_LIMIT", "Tuple field count %d exceeds the limit of %d"},
	CreateConstraint:              {"CREATE_CONSTRAINT", ""},
	FieldConstraintFailed:         {"FIELD_CONSTRAINT_FAILED", ""},
	TupleConstraintFailed:         {"TUPLE_CONSTRAINT_FAILED", ""},
	CreateForeignKey:              {"CREATE_FOREIGN_KEY", ""},
	ForeignKeyIntegrity:           {"FOREIGN_KEY_INTEGRITY", ""},
	FieldForeignKeyFailed:         {"FIELD_FOREIGN_KEY_FAILED", ""},
	ComplexForeignKeyFailed:       {"COMPLEX_FOREIGN_KEY_FAILED", ""},
	WrongSpaceUpgradeOptions:      {"WRONG_SPACE_UPGRADE_OPTIONS", ""},
	NoElectionQuorum:              {"NO_ELECTION_QUORUM", ""},
	SSL:                           {"SSL", ""},
	SplitBrain:                    {"SPLIT_BRAIN", ""},
	OldTerm:                       {"OLD_TERM", ""},
	InterferingElections:          {"INTERFERING_ELECTIONS", ""},
	IteratorPosition:              {"ITERATOR_POSITION", ""},
	DefaultValueType:              {"DEFAULT_VALUE_TYPE", ""},
	UnknownAuthMethod:             {"UNKNOWN_AUTH_METHOD", ""},
	InvalidAuthData:               {"INVALID_AUTH_DATA", ""},
	InvalidAuthRequest:            {"INVALID_AUTH_REQUEST", ""},
	WeakPassword:                  {"WEAK_PASSWORD", ""},
	OldPassword:                   {"OLD_PASSWORD", ""},
	NoSuchSession:                 {"NO_SUCH_SESSION", ""},
	WrongSessionType:              {"WRONG_SESSION_TYPE", ""},
	PasswordExpired:               {"PASSWORD_EXPIRED", ""},
	AuthDelay:                     {"AUTH_DELAY", ""},
	AuthRequired:                  {"AUTH_REQUIRED", ""},
	SQLSeqScan:                    {"SQL_SEQ_SCAN", ""},
	NoSuchEvent:                   {"NO_SUCH_EVENT", ""},
	BootstrapNotUnanimous:         {"BOOTSTRAP_NOT_UNANIMOUS", ""},
	CantCheckBootstrapLeader:      {"CANT_CHECK_BOOTSTRAP_LEADER", ""},
	BootstrapConnectionNotToAll:   {"BOOTSTRAP_CONNECTION_NOT_TO_ALL", ""},
	NilUUID:                       {"NIL_UUID", ""},
	WrongFunctionOptions:          {"WRONG_FUNCTION_OPTIONS", ""},
	MissingSystemSpaces:           {"MISSING_SYSTEM_SPACES", ""},
	ClusterNameMismatch:           {"CLUSTER_NAME_MISMATCH", ""},
	ReplicasetNameMismatch:        {"REPLICASET_NAME_MISMATCH", ""},
	InstanceNameDuplicate:         {"INSTANCE_NAME_DUPLICATE", ""},
	InstanceNameMismatch:          {"INSTANCE_NAME_MISMATCH", ""},
	SchemaNeedsUpgrade:            {"SCHEMA_NEEDS_UPGRADE", ""},
	SchemaUpgradeInProgress:       {"SCHEMA_UPGRADE_IN_PROGRESS", ""},
	Deprecated:                    {"DEPRECATED", ""},
	Unconfigured:                  {"UNCONFIGURED", ""},
	CreateDefaultFunc:             {"CREATE_DEFAULT_FUNC", ""},
	DefaultFuncFailed:             {"DEFAULT_FUNC_FAILED", ""},
	InvalidDec:                    {"INVALID_DEC", ""},
	InAnotherPromote:              {"IN_ANOTHER_PROMOTE", ""},
	Shutdown:                      {"SHUTDOWN", ""},
	FieldValueOutOfRange:          {"FIELD_VALUE_OUT_OF_RANGE", ""},
	ReplicasetNotFound:            {"REPLICASET_NOT_FOUND", ""},
	ReplicasetNoWritable:          {"REPLICASET_NO_WRITABLE", ""},
	ReplicasetMoreThanOneWritable: {"REPLICASET_MORE_THAN_ONE_WRITABLE", ""},
	TxnCommit:                     {"TXN_COMMIT", ""},
	ReadViewBusy:                  {"READ_VIEW_BUSY", ""},
	ReadViewClosed:                {"READ_VIEW_CLOSED", ""},
	WALQueueFull:                  {"WAL_QUEUE_FULL", ""},
	InvalidVClock:                 {"INVALID_VCLOCK", ""},
	SyncQueueFull:                 {"SYNC_QUEUE_FULL", ""},
	KeyPartValueOutOfRange:        {"KEY_PART_VALUE_OUT_OF_RANGE", ""},
	ReplicaGC:                     {"REPLICA_GC", ""},
	AlienEngine:                   {"ALIEN_ENGINE", ""},
	MVCCUnavailable:               {"MVCC_UNAVAILABLE", ""},
	CantUpgradeIndexedField:       {"CANT_UPGRADE_INDEXED_FIELD", ""},
	SyncTimeout:                   {"SYNC_TIMEOUT", ""},
	FieldIrrepresentableValue:     {"FIELD_IRREPRESENTABLE_VALUE", ""},
	KeyPartIrrepresentableValue:   {"KEY_PART_IRREPRESENTABLE_VALUE", ""},
	InvalidSortdataFile:           {"INVALID_SORTDATA_FILE", ""},
	NoSuchThread:                  {"NO_SUCH_THREAD", ""},
	UnableToProcessInThread:       {"UNABLE_TO_PROCESS_IN_THREAD", ""},
	DictOverflow:                  {"DICT_OVERFLOW", ""},
	NoSuchThreadGroup:             {"NO_SUCH_THREAD_GROUP", ""},
	XlogNotFound:                  {"XLOG_NOT_FOUND", ""},
	RecoveryPointTxnLastRow:       {"RECOVERY_POINT_TXN_LAST_ROW", ""},
	NoSuchReadView:                {"NO_SUCH_READ_VIEW", ""},
	Other:                         {"OTHER", "%s"},
	NotALeader:                    {"NOT_A_LEADER", "Not a leader: %s"},
	TermMismatch:                  {"TERM_MISMATCH", "Operation request from a different term %d, current term is %d"},
	RaftLogUnavailable:            {"RAFT_LOG_UNAVAILABLE", "Raft log is temporarily unavailable: %s"},
	RaftLogCompacted:              {"RAFT_LOG_COMPACTED", "Raft log is compacted at index %d"},
	CASNoSuchRaftIndex:            {"CAS_NO_SUCH_RAFT_INDEX", "Compare-and-swap names index %d, the log ends at %d"},
	CASConflictFound:              {"CAS_CONFLICT_FOUND", "Compare-and-swap conflict with the entry at index %d"},
	CASEntryTermMismatch:          {"CAS_ENTRY_TERM_MISMATCH", "Compare-and-swap names index %d of another term"},
	CASTableNotAllowed:            {"CAS_TABLE_NOT_ALLOWED", "Table %s cannot be changed this way"},
	CASInvalidOpKind:              {"CAS_INVALID_OP_KIND", "Operation %s is not known"},
	NoSuchInstance:                {"NO_SUCH_INSTANCE", "No instance named %s"},
	NoSuchReplicaset:              {"NO_SUCH_REPLICASET", "No replicaset named %s"},
	LeaderUnknown:                 {"LEADER_UNKNOWN", "Leader is not known yet"},
	InstanceExpelled:              {"INSTANCE_EXPELLED", "Instance %s is expelled"},
	Uninitialized:                 {"UNINITIALIZED", "Instance is not initialized yet"},
	ProposalDropped:               {"PROPOSAL_DROPPED", "The proposal was dropped, try again"},
	UnknownOutcome:                {"UNKNOWN_OUTCOME", "The outcome of the write is unknown: %s"},
	DiskFull:                      {"DISK_FULL", "The disk of %s is full: writes are refused until there is space again"},
	Poisoned:                      {"POISONED", "The log could not be written: %s"},
	NotImplemented:                {"NOT_IMPLEMENTED", "%s is not available in this version"},
	TooBig:                        {"TOO_BIG", "%s of %d bytes is over the limit of %d"},
	Overloaded:                    {"OVERLOADED", "The instance is overloaded: %s"},
}
