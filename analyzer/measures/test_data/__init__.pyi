from .measure import TEST, TestData, TestRecord, TestResult

__all__ = ["TEST", "TestData", "TestRecord", "TestResult"]
