"""What Spark is told on the embedded platform, and why. Pure: values only.

The figures are of the flights job on two cores; docs/decisions/0002-spark-jars-by-lock.md has the
tables.
"""

from __future__ import annotations

from dataharbour.platform.ports import LOOPBACK

CREDENTIALS = "software.amazon.awssdk.auth.credentials.EnvironmentVariableCredentialsProvider"

# For every Spark of the platform: the Connect server and the backend `local`.
SHARED = {
    # Other users of the machine reach loopback too. Spark makes up the secret at each start.
    "spark.authenticate": "true",
    "spark.driver.bindAddress": LOOPBACK,
    "spark.driver.host": LOOPBACK,
    "spark.eventLog.enabled": "false",
    "spark.redaction.regex": "(?i)secret|password|token|access[._]?key|credential",
    "spark.sql.catalogImplementation": "in-memory",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "4",  # the default, 200, costs a short job seconds
    "spark.ui.showConsoleProgress": "false",
}

S3A = {
    "spark.hadoop.fs.s3a.aws.credentials.provider": CREDENTIALS,
    "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
    "spark.hadoop.fs.s3a.path.style.access": "true",
    # Where pieces wait for their upload; Hadoop's default, /tmp/hadoop-USER, outlives the process.
    "spark.hadoop.fs.s3a.buffer.dir": "${java.io.tmpdir}/s3a-${user.name}",
    # Names are unique and attempts share no folder, so S3A need not look before it writes:
    # 440 requests in place of 514.
    "spark.hadoop.fs.s3a.performance.flags": "*",
    # S3A's reader reads ahead into the heap; its own limit, 2 GB, is twice the server's heap.
    "spark.hadoop.fs.s3a.analytics.accelerator.physicalio.max.memory.limit": str(128 * 2**20),
    # Output is staged under a path that no other attempt has, and published afterwards: the
    # committer need not be atomic, only quick. Version 2 moves a file once, version 1 twice.
    "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "2",
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    # A store that is down fails the job soon; by default two layers retry one another for minutes.
    "spark.hadoop.fs.s3a.attempts.maximum": "2",
    "spark.hadoop.fs.s3a.retry.limit": "4",
    "spark.hadoop.fs.s3a.retry.interval": "250ms",
    "spark.hadoop.fs.s3a.connection.establish.timeout": "15s",  # the least that S3A takes
    "spark.hadoop.fs.s3a.connection.timeout": "60s",
}

SERVER = {
    "spark.connect.grpc.binding.address": LOOPBACK,
    "spark.connect.grpc.port.maxRetries": "0",  # a client that looks elsewhere finds a stranger
    # A killed driver says no goodbye: its session and its queries end by these.
    "spark.connect.session.manager.defaultSessionTimeout": "15m",
    "spark.connect.session.manager.maintenanceInterval": "15s",
    "spark.connect.execute.manager.detachedTimeout": "60s",
    # What one run may take of the memory that all share.
    "spark.driver.maxResultSize": "256m",
    "spark.connect.grpc.maxInboundMessageSize": str(64 * 2**20),
    "spark.python.factory.idleWorkerMaxPoolSize": "2",
    "spark.python.task.killTimeout": "5s",
    # The keeper counts sessions on the page, which by default knows the last 200.
    "spark.sql.connect.ui.retainedSessions": "3000",
    "spark.scheduler.mode": "FAIR",
    # The page has no login: it may be looked at, not steered.
    "spark.ui.killEnabled": "false",
    "spark.ui.threadDumpsEnabled": "false",
    "spark.ui.heapHistogramEnabled": "false",
    "spark.ui.retainedJobs": "200",
    "spark.ui.retainedStages": "200",
    "spark.sql.ui.retainedExecutions": "100",
}

# Four times the default thresholds: the second compiler leaves alone what runs once or twice, which
# is most of a job. CPU seconds of start / first job / third job: 6.6 / 21 / 6.2, against
# 9.1 / 25 / 8.1 with the defaults; a long query costs the same. G1 takes 250 MB more.
JVM = (
    "-XX:+UseSerialGC",
    "-XX:MetaspaceSize=192m",  # else five full collections before the first job is done
    "-XX:Tier4InvocationThreshold=20000",
    "-XX:Tier4MinInvocationThreshold=2400",
    "-XX:Tier4CompileThreshold=60000",
    "-XX:Tier4BackEdgeThreshold=160000",
    "-XX:-UsePerfData",  # no files in /tmp
)

# What Spark's launcher gives every JVM (JavaModuleOptions); a test compares it with the launcher.
_OPENED = (
    "java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio",
    "java.util", "java.util.concurrent", "java.util.concurrent.atomic", "jdk.internal.ref",
    "sun.nio.ch", "sun.nio.cs", "sun.security.action", "sun.util.calendar",
)  # fmt: skip
MODULES = (
    "-XX:+IgnoreUnrecognizedVMOptions",
    "--add-modules=jdk.incubator.vector",
    *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED),
    "--add-opens=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "-Dio.netty.allocator.type=pooled",
    "-Dio.netty.handler.ssl.defaultEndpointVerificationAlgorithm=NONE",
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
    "-Dderby.connection.requireAuthentication=false",
)

LOG4J2 = """\
rootLogger.level = warn
rootLogger.appenderRef.stdout.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd'T'HH:mm:ss.SSSX} %p %c{1}: %m%n%ex
# Said on every start or every write, and not actionable here.
logger.native.name = org.apache.hadoop.util.NativeCodeLoader
logger.native.level = error
logger.committer.name = org.apache.hadoop.fs.s3a.commit.AbstractS3ACommitterFactory
logger.committer.level = error
# Users' failing queries with their plans and stacks: the user gets the error, nobody else need.
logger.errors.name = org.apache.spark.sql.connect.utils.ErrorUtils
logger.errors.level = off
"""

POOLS = """\
<?xml version="1.0"?>
<allocations>
  <pool name="default">
    <schedulingMode>FAIR</schedulingMode><weight>1</weight><minShare>0</minShare>
  </pool>
</allocations>
"""
